// SPDX-License-Identifier: Apache-2.0
// The bitmaps of what this hypervisor intercepts: VMX's MSRs, one that does nothing, one port, fields that are not offered.
#include "own_controls.h"

namespace nano {

namespace {

Page msrs, ports, no_ports, fields;
static_assert(msr::vmx_first / 64 == msr::vmx_last / 64 && msr::feature_control / 64 == 0);

void set_bit(Page& p, unsigned n) { p.words[n / 64] |= bit(n % 64); }

} // namespace

void make_own_bitmaps(Monitor& m)
{
    // SDM "MSR-Bitmap Address": reads of low MSRs, of high ones, writes of low ones, of high ones; 1 KiB each.
    constexpr unsigned low_writes = 2048 * 8;
    for (unsigned i = msr::vmx_first; i <= msr::vmx_last; ++i) set_bit(msrs, i);
    set_bit(msrs, msr::feature_control);
    set_bit(msrs, low_writes + msr::feature_control);
    set_bit(msrs, low_writes + msr::bios_signature);
    if (!m.options.linux_guest) set_bit(ports, test_port);
    for (u64& w : fields.words) w = ~0ull;
    for (unsigned i = 0; i < field_count; ++i)
        if (m.offered.exists[i]) fields.words[field_rows[i].encoding / 64] &= ~bit(field_rows[i].encoding % 64);
}

const Page& own_msr_bitmap() { return msrs; }
const Page& own_io_bitmap() { return ports; }
const Page& empty_io_bitmap() { return no_ports; }
const Page& vmread_bitmap() { return fields; }

} // namespace nano
