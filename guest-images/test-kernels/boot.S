// SPDX-License-Identifier: Apache-2.0
// The multiboot 1 header; from 32-bit protected mode to boot_main() in 64-bit mode; and how other processors get there.

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0
#define CR4_PAE 0x20
#define IA32_EFER 0xc0000080
#define EFER_LME 0x100
#define CR0_PG_NE_PE 0x80000021
#define STACK_SIZE 0x4000
#define MOST_PROCESSORS 64

    .section .multiboot, "a"
    .balign 4
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

    .text
    .code32
    .globl start
start:                                     // EAX = 0x2badb002, EBX -> multiboot information
    cli
    cld
    mov %eax, %ebp
    mov $pdpt + 3, %eax                    // PML4[0] -> PDPT[0..3] -> four page directories: 4 GiB in 2 MiB pages
    mov %eax, pml4
    xor %ecx, %ecx
1:  mov %ecx, %eax
    shl $12, %eax
    add $page_directories + 3, %eax
    mov %eax, pdpt(, %ecx, 8)
    inc %ecx
    cmp $4, %ecx
    jb 1b
    xor %ecx, %ecx
2:  mov %ecx, %eax
    shl $21, %eax
    or $0x83, %eax                         // present, writable, 2 MiB
    mov %eax, page_directories(, %ecx, 8)
    inc %ecx
    cmp $2048, %ecx
    jb 2b
    mov $task_state, %eax                  // the base of the TSS, in pieces
    mov %ax, gdt + 0x18 + 2
    shr $16, %eax
    mov %al, gdt + 0x18 + 4
    mov %ah, gdt + 0x18 + 7
    mov %ebp, %edi
    mov %ebx, %esi
    xor %edx, %edx

enter_long_mode:                           // EDX: number of the processor; EDI, ESI: for boot_main
    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $CR4_PAE, %eax
    mov %eax, %cr4
    mov %edx, %ebp
    mov $IA32_EFER, %ecx
    rdmsr
    or $EFER_LME, %eax
    wrmsr
    mov %ebp, %edx
    mov %cr0, %eax
    and $~0x60000000, %eax                 // caches on
    or $CR0_PG_NE_PE, %eax
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $start64

    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov %edx, %eax
    inc %eax
    imul $STACK_SIZE, %eax
    lea stacks(%rax), %rsp
    xor %ebp, %ebp
    test %edx, %edx
    jnz 3f
    mov $0x18, %eax
    ltr %ax
    call boot_main
3:  mov %edx, %edi
    call processor_main
4:  cli
    hlt
    jmp 4b

    // Where a start-up IPI leads: copied below 1 MiB, entered in real-address mode with CS at the copy.
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    lgdtl %cs:gdt_pointer32 - trampoline
    mov $1, %eax
    mov %eax, %cr0
    ljmpl $0x08, $processor_start32
gdt_pointer32:
    .word 3 * 8 - 1
    .long gdt32
trampoline_end:

    .code32
processor_start32:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $1, %edx
    lock xadd %edx, next_processor
    cmp $MOST_PROCESSORS, %edx
    jb enter_long_mode
5:  hlt
    jmp 5b

    .data
    .balign 16
    .globl gdt, task_state
gdt:
    .quad 0
    .quad 0x00af9b000000ffff               // 08: 64-bit code
    .quad 0x00cf93000000ffff               // 10: data
    .quad 0x0000890000000067, 0            // 18: TSS
gdt_pointer:
    .word . - gdt - 1
    .long gdt
    .long 0
    .balign 8
gdt32:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
next_processor:
    .long 1

    .bss
    .balign 4096
pml4:             .skip 4096
pdpt:             .skip 4096
page_directories: .skip 4 * 4096
task_state:       .skip 128
    .balign 4096
stacks:           .skip MOST_PROCESSORS * STACK_SIZE

    .section .note.GNU-stack, "", @progbits
