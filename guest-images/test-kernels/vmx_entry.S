// SPDX-License-Identifier: Apache-2.0
// VM entry as a function: 0 after a VM exit, 1 for VMfailInvalid, 2 for VMfailValid.
#define HOST_RSP 0x6c14
#define HOST_RIP 0x6c16

    .text
    .globl vmx_enter
vmx_enter:                                 // EDI: 1 launch, 0 resume
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov $HOST_RSP, %eax
    vmwrite %rsp, %rax
    mov $HOST_RIP, %eax
    lea exited(%rip), %rdx
    vmwrite %rdx, %rax
    test %edi, %edi
    jz 1f
    vmlaunch
    jmp 2f
1:  vmresume
2:  mov $1, %eax
    jc 3f
    mov $2, %eax
    jmp 3f
exited:
    xor %eax, %eax
3:  pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .section .note.GNU-stack, "", @progbits
