// SPDX-License-Identifier: Apache-2.0
// EntryFailures: which checks of VM entry failed, for the reports; a hypervisor sees only an error number.
#pragma once
#include <map>
#include <string>

#include "base/types.h"
#include "vmx/exit_router.h"

namespace droste {

class EntryFailures final : public VmxObserver {
public:
    struct Failure {
        u64 count = 0;
        u64 first_tick = 0;
    };
    void entry_failed(const EntryEvent& event, std::string_view check) override {
        Failure& f = failures_[std::string(check)];
        if (f.count++ == 0)
            f.first_tick = event.ticks;
    }
    const std::map<std::string, Failure>& failures() const { return failures_; }

private:
    std::map<std::string, Failure> failures_;
};

}  // namespace droste
