/* SPDX-License-Identifier: Apache-2.0
 * Four loops that bound an engine's speed, as a multiboot kernel in 32-bit paged protected mode:
 *   LOOP=1  arithmetic and branches        9 instructions an iteration
 *   LOOP=2  two loads and a store in 8     8
 *   LOOP=3  call, push, pop, ret          12
 *   LOOP=4  indirect call and ret          7
 * ITERATIONS says how often. The kernel leaves through the debug-exit port with the value 0x31.
 */
    .set magic, 0x1BADB002
    .section .text
    .p2align 2
    .long magic, 0, -magic

    .globl _start
_start:
    cli
    mov $stack_top, %esp
    /* one 4-MByte page, mapped to itself */
    mov %cr4, %eax
    or $0x10, %eax
    mov %eax, %cr4
    movl $0x83, directory
    mov $directory, %eax
    mov %eax, %cr3
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    mov $data, %ebx
    xor %eax, %eax
    xor %ecx, %ecx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    mov $ITERATIONS, %ebp

    .p2align 4
again:
#if LOOP == 1
    add %ebx, %eax
    xor %eax, %ecx
    lea (%ecx,%eax,2), %edx
    sub %edx, %esi
    test $1, %ebp
    jz 1f
    inc %edi
    or %edi, %edx
1:
#elif LOOP == 2
    mov (%ebx,%edi,4), %eax
    add %ecx, %eax
    mov %eax, 0x1000(%ebx,%edi,4)
    add 0x2000(%ebx,%edi,4), %ecx
    inc %edi
    and $0x3ff, %edi
#elif LOOP == 3
    call leaf
    call leaf
#elif LOOP == 4
    mov %ebp, %eax
    and $3, %eax
    call *table(,%eax,4)
#endif
    dec %ebp
    jnz again

    mov $0x31, %eax
    mov $0xf4, %dx
    outl %eax, %dx
1:  hlt
    jmp 1b

    .p2align 4
leaf:
    push %ebx
    mov %eax, %ebx
    pop %ebx
    ret
f0: inc %ecx
    ret
f1: inc %edx
    ret
f2: inc %esi
    ret
f3: dec %edi
    ret
    .p2align 2
table:
    .long f0, f1, f2, f3

    .section .bss
    .p2align 12
directory: .skip 4096
data: .skip 0x4000
    .skip 4096
stack_top:
