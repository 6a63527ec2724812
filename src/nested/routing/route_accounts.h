// SPDX-License-Identifier: Apache-2.0
// RouteAccounts: where exits went and why, and what could not be carried out.
#pragma once
#include <array>
#include <compare>
#include <map>
#include <string_view>

#include "base/types.h"
#include "vmx/routed_exit.h"

namespace droste {

struct RouteKey {
    unsigned level = 0;        ///< of the guest that exited
    u16 reason = 0;            ///< basic exit reason
    unsigned destination = 0;  ///< level of the hypervisor that received it
    std::string_view why;      ///< a literal of a design
    friend auto operator<=>(const RouteKey&, const RouteKey&) = default;
};

class RouteAccounts {
public:
    void routed(const RouteKey& key) { ++routes_[key]; }
    void fell_back(RouteFallback cause) { ++fallbacks_[static_cast<std::size_t>(cause)]; }
    void add(const RouteAccounts& other) {
        for (const auto& [key, n] : other.routes_) routes_[key] += n;
        for (std::size_t i = 0; i < fallbacks_.size(); ++i) fallbacks_[i] += other.fallbacks_[i];
    }
    const std::map<RouteKey, u64>& routes() const { return routes_; }
    u64 fallbacks(RouteFallback cause) const { return fallbacks_[static_cast<std::size_t>(cause)]; }

private:
    std::map<RouteKey, u64> routes_;
    std::array<u64, static_cast<std::size_t>(RouteFallback::count)> fallbacks_{};
};

}  // namespace droste
