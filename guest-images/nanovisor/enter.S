// SPDX-License-Identifier: Apache-2.0
// VM entry as a function: 0 after a VM exit, 1 for VMfailInvalid, 2 for VMfailValid. The guest's registers are in guest_registers.

    .text
    .globl vm_enter, vm_exited
vm_enter:                                  // EDI: 1 VMLAUNCH, 0 VMRESUME
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, saved_rsp
    test %edi, %edi
    mov guest_registers + 0x00, %rax
    mov guest_registers + 0x08, %rcx
    mov guest_registers + 0x10, %rdx
    mov guest_registers + 0x18, %rbx
    mov guest_registers + 0x28, %rbp
    mov guest_registers + 0x30, %rsi
    mov guest_registers + 0x38, %rdi
    mov guest_registers + 0x40, %r8
    mov guest_registers + 0x48, %r9
    mov guest_registers + 0x50, %r10
    mov guest_registers + 0x58, %r11
    mov guest_registers + 0x60, %r12
    mov guest_registers + 0x68, %r13
    mov guest_registers + 0x70, %r14
    mov guest_registers + 0x78, %r15
    jz 1f
    vmlaunch
    jmp 2f
1:  vmresume
2:  mov $1, %eax
    jc 3f
    mov $2, %eax
    jmp 3f

vm_exited:                                 // the host RIP of every VMCS
    mov %rax, guest_registers + 0x00
    mov %rcx, guest_registers + 0x08
    mov %rdx, guest_registers + 0x10
    mov %rbx, guest_registers + 0x18
    mov %rbp, guest_registers + 0x28
    mov %rsi, guest_registers + 0x30
    mov %rdi, guest_registers + 0x38
    mov %r8,  guest_registers + 0x40
    mov %r9,  guest_registers + 0x48
    mov %r10, guest_registers + 0x50
    mov %r11, guest_registers + 0x58
    mov %r12, guest_registers + 0x60
    mov %r13, guest_registers + 0x68
    mov %r14, guest_registers + 0x70
    mov %r15, guest_registers + 0x78
    mov saved_rsp, %rsp
    xor %eax, %eax
3:  pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .bss
    .globl guest_registers, exit_stack_top
    .balign 16
guest_registers:  .skip 16 * 8             // in the order of register numbers; RSP's place is unused
saved_rsp:        .skip 8
    .balign 16
                  .skip 512                // for an NMI before RSP is back
exit_stack_top:   .skip 8

    .section .note.GNU-stack, "", @progbits
