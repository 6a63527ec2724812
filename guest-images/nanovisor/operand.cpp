// SPDX-License-Identifier: Apache-2.0
// Operands of a guest's VMX instructions: registers, and memory by the guest's own paging.
#include "console.h"
#include "monitor.h"

namespace nano {

namespace {

u64 rsp_copy;

} // namespace

// A register as an operand that is read. RSP is in the VMCS.
u64& register_operand(unsigned number)
{
    if (number != 4) return guest_registers.gpr[number];
    rsp_copy = vmread(field::guest_rsp);
    return rsp_copy;
}

// SDM "Format of the VM-Exit Instruction-Information Field as Used for VMREAD and VMWRITE" and its neighbours.
u64 linear_of_operand(u64 information)
{
    u64 address = vmread(field::qualification);
    if (!(information & bit(27))) address += register_operand(information >> 23 & 15);
    if (!(information & bit(22))) address += register_operand(information >> 18 & 15) << (information & 3);
    const unsigned size = information >> 7 & 7;
    if (size < 2) address &= size == 0 ? 0xffff : 0xffffffff;
    const unsigned segment = information >> 15 & 7;
    if (segment >= 4) address += vmread(field::guest_es_base + 2 * segment); // FS and GS have bases in 64-bit mode
    return address;
}

u64 own_of_linear(Monitor& m, u64 linear)
{
    constexpr u64 present = 1, large = bit(7), address_bits = 0x000ffffffffff000;
    if (!(vmread(field::guest_cr0) & cr0_pg)) return to_own(m, m.running, linear);
    u64 table = vmread(field::guest_cr3) & address_bits;
    for (int depth = vmread(field::guest_cr4) & cr4_la57 ? 4 : 3;; --depth) {
        const u64 own = to_own(m, m.running, table);
        if (own == no_address) panic("a guest's page table is not in its memory", table);
        const u64 entry = at<u64>(own + 8 * (linear >> (12 + 9 * depth) & 511));
        if (!(entry & present)) {
            asm volatile("mov %0, %%cr2" : : "r"(linear));
            inject(vector::page_fault, true, 0);
            return no_address;
        }
        if (depth == 0 || (entry & large)) {
            const u64 size = page_size << (9 * depth);
            const u64 address = to_own(m, m.running, (entry & address_bits & ~(size - 1)) | (linear & (size - 1)));
            if (address == no_address) panic("an operand is not in the guest's memory", linear);
            return address;
        }
        table = entry & address_bits;
    }
}

} // namespace nano
