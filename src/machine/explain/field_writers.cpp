// SPDX-License-Identifier: Apache-2.0
// Who wrote which field of which VMCS.
#include "machine/explain/field_writers.h"

#include <fmt/format.h>

#include "cpu/cpu.h"
#include "nested/level_observer.h"

namespace droste {

namespace {

std::string by_whom(const FieldWriters::Write& w) {
    return fmt::format("at tick {} by level {}{}, RIP {:#x}", w.ticks, w.level,
                       w.processor == 0 ? "" : fmt::format(" on processor {}", w.processor), w.linear_rip);
}

}  // namespace

std::string FieldWriters::told(u64 vmcs, Field field, u64 value) const {
    const auto region = regions_.find(vmcs);
    if (region == regions_.end())
        return "not written while this ran";
    const Region& r = region->second;
    const auto write = r.writes.find(field.row);
    if (write != r.writes.end() && write->second.value == value)
        return fmt::format("written {}", by_whom(write->second));
    const bool saved_by_exit = field->area() == FieldArea::guest && r.exit_at != 0;
    if (saved_by_exit && (write == r.writes.end() || write->second.ticks < r.exit_at))
        return fmt::format("saved by the VM exit ({}) at tick {}", r.exit_reason, r.exit_at);
    if (write != r.writes.end())
        return fmt::format("written as {:#x} {}, and changed in memory since", write->second.value,
                           by_whom(write->second));
    return fmt::format("not written since {} at tick {}", r.loaded_by, r.loaded_at);
}

void WriterFeed::wrote(const FieldWrite& w) {
    to_.wrote(w.vmcs, w.field,
              {.ticks = w.ticks,
               .linear_rip = w.linear_rip,
               .value = w.value,
               .level = levels_.level(),
               .processor = processor_});
}

void WriterFeed::vmptrld(u64 address) {
    to_.loaded(address, cpu_.ticks(), "VMPTRLD");
}

// What software does to a region between VMCLEAR and VMPTRLD is its own affair.
void WriterFeed::vmclear(u64 address) {
    to_.loaded(address, cpu_.ticks(), "VMCLEAR");
}

void WriterFeed::exited(const ExitEvent& e) {
    if (e.entry_failure_bit == 0)  // a failed entry saves no guest state
        to_.exited(e.vmcs, e.ticks, e.row->name);
}

}  // namespace droste
