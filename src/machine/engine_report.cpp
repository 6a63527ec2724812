// SPDX-License-Identifier: Apache-2.0
// The counts of memory translation and of translated code, most frequent instructions first.
#include "machine/engine_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/cpu.h"
#include "cpu/decode/decoder.h"
#include "cpu/jit/jit.h"

namespace droste {

namespace {

constexpr std::size_t rows_told = 24;

void add_rows(const Isa& isa, const std::vector<u64>& by_row, const char* what, std::vector<EngineCount>& out) {
    std::vector<u16> order;
    for (std::size_t i = 0; i < by_row.size(); ++i)
        if (by_row[i] != 0)
            order.push_back(static_cast<u16>(i));
    std::stable_sort(order.begin(), order.end(), [&](u16 a, u16 b) { return by_row[a] > by_row[b]; });
    if (order.size() > rows_told)
        order.resize(rows_told);
    for (const u16 i : order) {
        const Encoding& e = isa.row(i).encoding;
        out.push_back({fmt::format("{}: {} (map {}, opcode {:02X}{})", what, isa.row(i).mnemonic, unsigned{e.map},
                                   unsigned{e.opcode}, e.vex ? ", VEX" : ""),
                       by_row[i]});
    }
}

}  // namespace

std::vector<EngineCount> engine_counts(const Cpu& first, const RunSummary& summary) {
    std::vector<EngineCount> out = {
        {"page walks", summary.walks},
        {"memory reads of page walks", summary.walk_references},
        {"of these, of EPT paging structures", summary.ept_references},
        {"VM exits", summary.vm_exits},
    };
    if (first.jit == nullptr)
        return out;
    const jit::Statistics& s = first.jit->statistics();
    const std::vector<EngineCount> rows = {
        {"blocks translated", s.translated},
        {"instructions in them", s.instructions},
        {"of these, re-encoded", s.natively},
        {"bytes of translated code", s.host_bytes},
        {"bytes of it that are seldom executed", s.cold_bytes},
        {"times the code cache was emptied", s.flushes},
        {"jumps linked", s.linked},
        {"jumps unlinked, their target was overwritten", s.unlinked},
        {"translated code entered from the run loop", s.entries},
        {"left after a branch: an event waits or is near", s.left_event},
        {"left after a branch: target not at hand", s.left_unknown},
        {"bodies called", s.bodies},
        {"of these, for misses of the TLB or jump cache", s.missed},
    };
    out.insert(out.end(), rows.begin(), rows.end());
    add_rows(first.isa, s.by_row, "not re-encoded", out);
    add_rows(first.isa, s.missed_by_row, "missed", out);
    return out;
}

}  // namespace droste
