// SPDX-License-Identifier: Apache-2.0
// Processor: one logical processor of the machine with what belongs to it alone.
#pragma once
#include "cpu/cpu.h"
#include "machine/apic_window.h"
#include "nested/level_observer.h"
#include "nested/routing/estimates.h"
#include "nested/routing/routing_unit.h"
#include "vmx/vmx.h"

namespace droste {

struct Processor {
    /// `parts.interrupts` is `apic_window`.
    Processor(ApicWindow& apic_window, const CpuParts& parts, const VmxCapabilities& capabilities,
              LevelTracker& tracker, const RoutingConfig& routing, unsigned number)
        : window(apic_window), cpu(parts), vmx(cpu, capabilities), levels(cpu, tracker, number),
          routes(cpu, routing, [this] { return levels.exit_level(); }), estimates(cpu.costs) {
        vmx.add_observer(levels);
        if (routing.design != nullptr && routing.design->programmable) vmx.set_router(&routes);
        if (routing.estimate) levels.set_listener(&estimates);
        if (routing.design != nullptr && routing.design->in_vmx) vmx.use_native(routing.max_levels);
    }
    ApicWindow& window;
    Cpu cpu;
    Vmx vmx;
    LevelObserver levels;
    RoutingUnit routes;  ///< without a programmable design nothing asks it
    RouteEstimates estimates;
};

}  // namespace droste
