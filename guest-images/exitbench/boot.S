// SPDX-License-Identifier: Apache-2.0
// The PVH note, the multiboot 1 header, and the way from 32-bit protected mode to main() in 64-bit mode.

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 2                  // asks for mem_lower, mem_upper and the memory map
#define XEN_ELFNOTE_PHYS32_ENTRY 18

    // QEMU prefers multiboot wherever it finds the header, so exitbench.elf is linked without this section.
    .section .multiboot, "a"
    .balign 4
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

    .text
    .code32
    .globl start
start:                                     // EBX -> hvm_start_info, or EAX = 0x2badb002 and EBX -> multiboot info
    cli
    cld
    mov $stack_top, %esp
    mov %eax, %ebp

    // Identity map of 4 GiB with 2 MiB pages: PML4[0] -> PDPT[0..3] -> four page directories.
    mov $pdpt + 3, %eax
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
    cmp $1536, %ecx                        // devices live in the fourth GiB: uncacheable
    jb 3f
    or $0x10, %eax
3:  mov %eax, page_directories(, %ecx, 8)
    inc %ecx
    cmp $2048, %ecx
    jb 2b

    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax                         // PAE
    mov %eax, %cr4
    mov $0xc0000080, %ecx                  // IA32_EFER.LME
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    and $~0x60000000, %eax                 // CD and NW off
    or $0x80000001, %eax                   // PG, PE
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
    mov $stack_top, %rsp
    mov %ebp, %edi                         // main(loader's magic, loader's information)
    mov %ebx, %esi
    xor %ebp, %ebp
    call main
4:  hlt
    jmp 4b

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff               // 64-bit code
    .quad 0x00cf93000000ffff               // data
gdt_pointer:
    .word . - gdt - 1
    .long gdt
    .long 0

    .bss
    .balign 4096
pml4:             .skip 4096
pdpt:             .skip 4096
page_directories: .skip 4 * 4096
stack:            .skip 32 * 1024
stack_top:

    .section .note.GNU-stack, "", @progbits
