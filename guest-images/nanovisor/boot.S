// SPDX-License-Identifier: Apache-2.0
// The PVH note, the multiboot 1 header, and the way from 32-bit protected mode to boot_main() in 64-bit mode, on every level.

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 2                  // asks for mem_lower, mem_upper and the memory map
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define CR4_PAE 0x20
#define IA32_EFER 0xc0000080
#define EFER_LME 0x100
#define CR0_CD_NW 0x60000000
#define CR0_PG_NE_PE 0x80000021

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
start:                                     // EAX = 0x2badb002 and EBX -> multiboot information, or EBX -> hvm_start_info
    cli
    cld
    mov %eax, %ebp
    mov $bss_start, %edi
    mov $image_end, %ecx
    sub %edi, %ecx
    shr $2, %ecx
    xor %eax, %eax
    rep stosl

    mov $pdpt + 3, %eax                    // identity map of 4 GiB with 2 MiB pages
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
    mov %eax, %ecx
    shr $16, %ecx
    mov $gdt, %edi
    mov $gdt_image, %esi
    movl $10, %edx
3:  movl (%esi), %eax
    movl %eax, (%edi)
    add $4, %esi
    add $4, %edi
    dec %edx
    jnz 3b
    mov $task_state, %eax
    mov %ax, gdt + 0x18 + 2
    mov %cl, gdt + 0x18 + 4
    mov %ch, gdt + 0x18 + 7

    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $CR4_PAE, %eax
    mov %eax, %cr4
    mov $IA32_EFER, %ecx
    rdmsr
    or $EFER_LME, %eax
    wrmsr
    mov %cr0, %eax
    and $~CR0_CD_NW, %eax
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
    mov $0x18, %eax
    ltr %ax
    mov $stack_top, %rsp
    mov %ebp, %edi                         // boot_main(loader's magic, loader's information)
    mov %ebx, %esi
    xor %ebp, %ebp
    call boot_main
4:  hlt
    jmp 4b

// One stub for each exception: vector and error code on the stack, then panic_exception(frame).
    .macro exception vector, has_error=0
    .balign 16
    .if \has_error == 0
    push $0
    .endif
    push $\vector
    jmp exception_common
    .endm

    .balign 16
    .globl exception_stubs
exception_stubs:
    .irp vector, 0, 1, 2, 3, 4, 5, 6, 7
    exception \vector
    .endr
    exception 8, 1
    exception 9
    .irp vector, 10, 11, 12, 13, 14
    exception \vector, 1
    .endr
    exception 15
    exception 16
    exception 17, 1
    .irp vector, 18, 19, 20
    exception \vector
    .endr
    exception 21, 1
    .irp vector, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    exception \vector
    .endr
    .globl nmi_stub
nmi_stub:                                  // counts; whoever runs looks at the counter
    incq nmi_count
    iretq

exception_common:
    mov %rsp, %rdi
    and $~15, %rsp
    call panic_exception
5:  hlt
    jmp 5b

    .section .rodata
    .balign 8
gdt_image:
    .quad 0
    .quad 0x00af9b000000ffff               // 64-bit code
    .quad 0x00cf93000000ffff               // data
    .quad 0x0000890000000067               // available 64-bit TSS; its base is filled in
    .quad 0
gdt_pointer:
    .word 5 * 8 - 1
    .long gdt
    .long 0

    .bss
    .globl gdt, task_state, nmi_count
    .balign 4096
pml4:             .skip 4096
pdpt:             .skip 4096
page_directories: .skip 4 * 4096
stack:            .skip 32 * 1024
stack_top:
gdt:              .skip 5 * 8
    .balign 16
task_state:       .skip 104
    .balign 8
nmi_count:        .skip 8

    .section .note.GNU-stack, "", @progbits
