// SPDX-License-Identifier: Apache-2.0
// Layer: one hypervisor beneath the running guest: the VMCS by which it runs the level above it.
#pragma once
#include <array>

#include "mmu/paging.h"
#include "vmx/apic_virtualization.h"
#include "vmx/preemption_timer.h"
#include "vmx/vmcs.h"

namespace droste {

class Vmx;

/// Layer k is that of level k, with the VMCS for level k + 1. Without the design `native` there is layer 0 alone.
struct Layer final : DirtyLog {
    Layer(Vmx& v, unsigned n) : vmx(v), number(n), apic(v, *this), timer(v) {}
    Vmx& vmx;
    const unsigned number;
    Vmcs vmcs;
    u64 pointer = Vmcs::none;  ///< its address, as the hypervisor knows it
    Controls controls;
    u64 gates = 0;             ///< that the controls close
    Controls gates_of;         ///< controls for which `gates` was computed
    ApicVirtualization apic;
    PreemptionTimer timer;
    u64 ple_first = 0, ple_last = 0;  ///< PAUSE-loop exiting

    /// Machine address of `address`, one of the hypervisor's own; `unreachable` when a layer beneath does not map it.
    u64 reach(u64 address) const { return number == 0 ? address : reach_beneath(address); }
    static constexpr u64 unreachable = 0x000F'FFFF'FFFF'F000;
    void forget_pages() const { pages_.fill({}); }
    void remember(u64 page, u64 machine) const;

    // DirtyLog (page_modification_log.cpp)
    bool log(GuestPhys page) override;
    bool full() const override;

private:
    struct Page {
        u64 address = ~0ull;
        u64 machine = 0;
    };
    u64 reach_beneath(u64 address) const;
    mutable std::array<Page, 16> pages_{};
    mutable unsigned next_page_ = 0;
};

}  // namespace droste
