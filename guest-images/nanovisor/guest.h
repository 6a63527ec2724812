// SPDX-License-Identifier: Apache-2.0
// The guest of an instance: another instance, one level deeper, or Linux.
#pragma once

#include "monitor.h"

namespace nano {

constexpr u32 multiboot_magic = 0x2badb002;

// The part of a loader's information that is used here, of both protocols.
struct BootInformation {
    const char* command_line;
    u64 memory_size;
    u64 module_first[3], module_end[3];
    unsigned modules;
    u64 map, map_entries; // of PVH: hvm_memmap_table_entry
    u64 rsdp;
};
BootInformation read_boot_information(u32 magic, u64 address);

// VMX operation.
void turn_vmx_on(Monitor& m);

// Copies this program to where the guest's memory begins, with its command line, and makes level 1.
void make_nested_instance(Monitor& m);

// Moves the modules to where Linux wants kernel and RAM disk, and makes level 1.
void make_linux_guest(Monitor& m, const BootInformation& boot);

// The processor as a guest that starts in 32-bit protected mode has it.
void set_protected_mode(Context& c, u64 entry);

} // namespace nano
