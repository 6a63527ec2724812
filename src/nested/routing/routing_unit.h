// SPDX-License-Identifier: Apache-2.0
// RoutingUnit: carries out what the configured design decides about each exit of a processor, and counts it.
#pragma once
#include <functional>

#include "nested/routing/design.h"
#include "nested/routing/levels_chain.h"
#include "nested/routing/route_accounts.h"
#include "vmx/exit_router.h"

namespace droste {

struct RoutingConfig {
    const RoutingDesign* design = nullptr;  ///< null: sdm
    RoutePolicies policies{};               ///< of preset and routing.reasons
    unsigned max_levels = 8;
    bool direct_entry = false;
    bool estimate = false;                  ///< the design `account`
    std::optional<u32> walk_cycles;         ///< for each level that is asked; else the timing table's route_level
    /// MSR routing_capability; 0: there is none.
    u64 capability() const;
};

class RoutingUnit final : public ExitRouter {
public:
    /// `level`: the level that exits now, as the tracker knows it, for the accounts.
    RoutingUnit(Cpu& cpu, const RoutingConfig& config, std::function<unsigned()> level)
        : cpu_(cpu), config_(config), level_(std::move(level)) {}

    Route route(const ExitEvent& event, Vmx& vmx) override;
    bool induced(u32 information, u64 error_code, Vmx& vmx) override;
    void in_root(const ExitEvent& event, Vmx& vmx) override;
    void entering(Vmx& vmx) override;
    void entered(Vmx& vmx) override;
    void written_in_non_root(const Vmcs& vmcs, Field field) override;

    const RouteAccounts& accounts() const { return accounts_; }

private:
    RouteQuestion question(const ExitEvent& event, const LevelsChain& chain) const;
    RoutePolicy policy(const ExitEvent& event, const LevelsChain& chain) const;
    Route carry_out(const ExitEvent& event, Vmx& vmx, const LevelsChain& chain, const RouteDecision& decision);
    bool enter_directly(const ExitEvent& event, Vmx& vmx);
    bool is(std::string_view design) const { return config_.design->name == design; }
    RouteFallback transfer(ExitEvent event, Vmx& vmx, const LevelsChain& chain, unsigned destination);
    Cpu& cpu_;
    const RoutingConfig config_;
    const std::function<unsigned()> level_;
    RouteAccounts accounts_;
};

}  // namespace droste
