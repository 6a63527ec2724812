// SPDX-License-Identifier: Apache-2.0
// What this hypervisor itself wants to intercept.
#pragma once

#include "monitor.h"

namespace nano {

// Management events are the first hypervisor's. Virtual NMIs, so that a guest's IRET ends the blocking by one that it was given.
inline u64 own_pin_controls(const Monitor& m)
{
    return m.options.ras && m.options.level == 0 ? bit(control::nmi_exiting.number) | bit(control::virtual_nmis.number) : 0;
}

constexpr u64 own_exit_controls = bit(control::save_debug.number) | bit(control::host_64.number) |
                                  bit(control::save_pat.number) | bit(control::save_efer.number) |
                                  bit(control::exit_load_efer.number);
constexpr u64 own_entry_controls = bit(control::load_debug.number) | bit(control::entry_load_pat.number) |
                                   bit(control::entry_load_efer.number);
constexpr u64 own_primary_controls = bit(control::io_bitmaps.number) | bit(control::msr_bitmaps.number) |
                                     bit(control::secondary_controls.number);
// As far as the processor has them: what a guest would miss without.
constexpr u64 own_secondary_controls = bit(control::ept.number) | bit(control::rdtscp.number) | bit(control::vpid.number) |
                                       bit(control::unrestricted_guest.number) | bit(control::invpcid.number) |
                                       bit(control::xsaves.number) | bit(control::user_wait.number);

// Emulated for its guests: a port and an MSR that do nothing, for measuring.
constexpr u16 test_port = 0xe0;

// The 64-bit words of the bitmaps that have bits set.
constexpr u16 own_bitmap_words[] = {msr::feature_control / 64, test_port / 64, msr::vmx_first / 64, 256,
                                    256 + msr::bios_signature / 64};

// Fills the bitmaps.
void make_own_bitmaps(Monitor& m);

const Page& own_msr_bitmap();
const Page& own_io_bitmap();
const Page& empty_io_bitmap();
const Page& vmread_bitmap(); // 0 for each field that guests are offered

bool vmcs12_has(const FieldImage& v12, ControlBit c);

} // namespace nano
