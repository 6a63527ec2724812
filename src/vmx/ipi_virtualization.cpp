// SPDX-License-Identifier: Apache-2.0
// IPI virtualization: posts an interrupt to another virtual processor (SDM "IPI Virtualization").
#include "vmx/apic_virtualization.h"
#include "vmx/layer.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

/// Fields of a posted-interrupt descriptor beside the 256 requests. SDM Table "Format of Posted-Interrupt
/// Descriptor (PID)".
constexpr u64 notification = 32;                             ///< byte offset of bits 319:256
constexpr u64 outstanding = 1, suppressed = 2;               ///< ON, SN
constexpr u8 notification_vector(u64 n) { return static_cast<u8>(n >> 16); }
constexpr u32 notification_destination(u64 n) { return static_cast<u32>(n >> 32); }

/// As software would write ICR: fixed mode, physical destination.
void send_physical_ipi(Cpu& cpu, u8 vector, u32 destination) {
    const auto page = cpu.interrupts.mmio_page();
    if (!page) {
        cpu.interrupts.write_msr(0x830, u64{destination} << 32 | vector);
        return;
    }
    cpu.memory.write32(page->value + vapic::icr_high, (destination >> 8 & 0xFF) << 24);
    cpu.memory.write32(page->value + vapic::icr_low, vector);
}

}  // namespace

void ApicVirtualization::virtualize_ipi(u8 vector, u32 apic_id) {
    Cpu& cpu = vmx_.cpu_;
    const auto exits = [&] { vmx_.exit_after_instruction("apic_write"_exit, vapic::icr_low); };
    if (layer_.number != 0) return exits();  // its physical APIC IDs are virtual ones
    if (vector < 16 || apic_id > layer_.vmcs["last_pid_pointer_index"_f]) return exits();
    const u64 entry = cpu.memory.read64(layer_.reach(layer_.vmcs["pid_pointer_table_address"_f] + 8ull * apic_id));
    if (!vmx_.caps_.within_width(entry) || (entry & 0x3F) != 1) return exits();  // bit 0: valid; 5:1 reserved
    const u64 descriptor = layer_.reach(entry & ~1ull);
    const u64 word = descriptor + vector / 64u * 8;
    cpu.memory.write64(word, cpu.memory.read64(word) | 1ull << (vector % 64));
    const u64 n = cpu.memory.read64(descriptor + notification);
    if ((n & (outstanding | suppressed)) != 0) return;
    cpu.memory.write64(descriptor + notification, n | outstanding);
    send_physical_ipi(cpu, notification_vector(n), notification_destination(n));
}

void ApicVirtualization::send_user_ipi(u32 destination, u8 vector) {
    const bool memory_mapped = layer_.controls.has("virtualize_apic_accesses"_vmx);
    const u32 apic_id = memory_mapped ? destination >> 8 & 0xFF : destination;
    if (memory_mapped) {
        write(vapic::icr_high, apic_id << 24);
        write(vapic::icr_low, vector);
    } else {
        vmx_.cpu_.memory.write64(page() + vapic::icr_low,
                                 u64{destination} << 32 | vector);
    }
    if (layer_.controls.has("ipi_virtualization"_vmx)) virtualize_ipi(vector, apic_id);
    else vmx_.exit_after_instruction("apic_write"_exit, vapic::icr_low);
}

}  // namespace droste
