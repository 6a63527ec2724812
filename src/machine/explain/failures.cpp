// SPDX-License-Identifier: Apache-2.0
// What failed in VMX operation, put into words.
#include "machine/explain/failures.h"

#include <fmt/format.h>

#include <algorithm>

#include "machine/explain/field_text.h"
#include "vmx/entry_explanation.h"
#include "vmx/interruption.h"
#include "vmx/vmx_errors.h"

namespace droste {

namespace {

std::string_view error_text(VmxError error) {
    for (const VmxErrorRow& row : vmx_error_rows)
        if (row.error == error)
            return row.text;
    return "";
}

std::string vm_fail_text(VmxError error) {
    return fmt::format("VMfailValid {} ({})", static_cast<u32>(error), error_text(error));
}

std::string one_bit(Field field, u64 value, unsigned bit) {
    return fmt::format("{} {}", value >> bit & 1 ? "clear" : "set", bit_text(field, bit));
}

/// What would let the check pass.
std::string remedy(const FieldFinding& f) {
    const int flips = __builtin_popcountll(f.flips);
    std::string out;
    if (f.flips != 0 && f.flips == f.field->mask()) {
        out = "any other value would pass";
    } else if (flips > 4) {
        out = fmt::format("changing one of {} bits would pass, such as: {}", flips,
                          one_bit(f.field, f.value, static_cast<unsigned>(__builtin_ctzll(f.flips))));
    } else {
        for (unsigned bit = 0; bit < 64; ++bit)
            if (f.flips >> bit & 1)
                out += fmt::format("{}{}", out.empty() ? "" : ", or ", one_bit(f.field, f.value, bit));
        if (f.together != 0) {
            const auto low = static_cast<unsigned>(__builtin_ctzll(f.together));
            const auto high = static_cast<unsigned>(63 - __builtin_clzll(f.together));
            out = fmt::format("{} and {}", one_bit(f.field, f.value, low), one_bit(f.field, f.value, high));
        }
    }
    if (f.flips == f.field->mask())
        return out;
    if (f.zero_passes)
        out += out.empty() ? "0 would pass" : ", or 0";
    if (f.ones_pass)
        out += out.empty() ? "all bits set would pass" : ", or all bits set";
    return out;
}

std::string outcome_of(const EntryCheck& check) {
    switch (check.stage) {
    case Stage::controls:
        return vm_fail_text(VmxError::entry_controls);
    case Stage::host_state:
        return vm_fail_text(VmxError::entry_host_state);
    case Stage::guest_state:
        break;
    }
    return fmt::format("exit reason {:#x} ({}), qualification {}",
                       "entry_failure_guest_state"_exit->number | exit_reason_entry_failure,
                       "entry_failure_guest_state"_exit->name, static_cast<u64>(check.qualification));
}

std::string_view capability_name(Capability c) {
    for (const CapabilityRow& row : capability_rows)
        if (row.word == c.word && row.bit == c.bit)
            return row.name;
    return "?";
}

/// SDM "Error Code" and "Page-Fault Error Code".
std::string error_code_text(u32 code, bool page_fault) {
    if (page_fault)
        return fmt::format("error code {:#x} ({} {}{}{}{})", code, code & 4 ? "user" : "supervisor",
                           code & 16  ? "fetch"
                           : code & 2 ? "write"
                                      : "read",
                           code & 1 ? ", protection" : ", not present", code & 8 ? ", reserved bit" : "",
                           code & 32 ? ", protection key" : "");
    if (code == 0)
        return "error code 0";
    return fmt::format("error code {:#x} ({} entry {}{})", code,
                       code & 2   ? "IDT"
                       : code & 4 ? "LDT"
                                  : "GDT",
                       code >> 3, code & 1 ? ", in the delivery of an event" : "");
}

/// An entry of an MSR area, in words.
std::string msr_entry(const Cpu& cpu, u64 list, u64 number) {
    const u64 at = list + 16 * (number - 1);
    if (cpu.memory.host(at) == nullptr || (at & 0xF) != 0)
        return fmt::format("entry {} at {:#x}, which is no RAM", number, at);
    const u64 head = cpu.memory.read64(at);
    return fmt::format("entry {} at {:#x}: MSR {:#x}, value {:#x}{}", number, at, static_cast<u32>(head),
                       cpu.memory.read64(at + 8),
                       head >> 32 != 0 ? fmt::format(", reserved bits {:#x}", head >> 32) : "");
}

}  // namespace

std::string VmxFailures::writer(u64 vmcs, Field field, u64 value) const {
    return writers_ == nullptr ? "" : writers_->told(vmcs, field, value);
}

ExplainedField VmxFailures::read_field(const Vmcs& v, Field field) const {
    const u64 value = v[field];
    return {.name = std::string(field->name),
            .value = value,
            .text = field_text(field, value),
            .remedy = "",
            .writer = writer(v.address(), field, value)};
}

void VmxFailures::add(EntryFailureSummary failure) {
    if (notes_ != nullptr)
        notes_->note(failure_text(failure));
    const auto [at, fresh] = entries_.try_emplace(failure.check, failure);
    ++at->second.count;
}

void VmxFailures::entry_check_failed(const EntryEvent& event, const EntryCheck& check,
                                     const EntryContext& x) {
    const auto known = entries_.find(std::string(check.name));
    if (known != entries_.end() && notes_ == nullptr) {  // the first is explained, the others are counted
        ++known->second.count;
        return;
    }
    EntryFailureSummary s;
    s.check = check.name;
    s.section = section_of(check);
    s.outcome = outcome_of(check);
    s.first_tick = event.ticks;
    s.instruction = event.launch ? "VMLAUNCH" : "VMRESUME";
    s.rip = event.linear_rip;
    s.vmcs = event.vmcs;
    s.processor = processor_;
    const EntryExplanation why = explain(check, x);
    for (const FieldFinding& f : why.fields) {
        ExplainedField field{.name = std::string(f.field->name),
                             .value = f.value,
                             .text = field_text(f.field, f.value),
                             .remedy = remedy(f),
                             .writer = writer(event.vmcs, f.field, f.value)};
        s.fields.push_back(std::move(field));
    }
    for (const ControlFinding& c : why.controls)
        s.controls.push_back({.name = std::string(capability_name(c.control)),
                              .word = std::string(field_of_word(c.control.word)->name),
                              .value = c.value,
                              .decides = c.decides,
                              .writer = writer(event.vmcs, field_of_word(c.control.word),
                                               x.v.vmcs()[field_of_word(c.control.word)])});
    add(std::move(s));
}

void VmxFailures::entry_msr_failed(const EntryEvent& event, u64 number) {
    const Vmcs& v = vmx_.current();
    EntryFailureSummary s;
    s.check = "VM-entry MSR-load area";
    s.section = "Loading MSRs";
    s.outcome = fmt::format("exit reason {:#x} ({}), qualification {}",
                            "entry_failure_msr_loading"_exit->number | exit_reason_entry_failure,
                            "entry_failure_msr_loading"_exit->name, number);
    s.first_tick = event.ticks;
    s.instruction = event.launch ? "VMLAUNCH" : "VMRESUME";
    s.rip = event.linear_rip;
    s.vmcs = event.vmcs;
    s.processor = processor_;
    s.detail = msr_entry(vmx_.cpu(), v["entry_msr_load_address"_f], number);
    for (const Field f : {Field{"entry_msr_load_address"_f}, Field{"entry_msr_load_count"_f}})
        s.fields.push_back(read_field(v, f));
    add(std::move(s));
}

void VmxFailures::instruction_failed(const FailedInstruction& failed) {
    const std::optional<VmxError> error = failed.error;
    if (error == VmxError::entry_controls || error == VmxError::entry_host_state)
        return;  // told by the check
    const u32 number = error ? static_cast<u32>(*error) : 0;
    const auto [at, fresh] = instructions_.try_emplace(number);
    VmFailSummary& s = at->second;
    if (fresh)
        s = {.error = number,
             .text = error ? std::string(error_text(*error)) : "no current VMCS, or a bad pointer",
             .count = 0,
             .first_tick = failed.ticks,
             .instruction = std::string(failed.name),
             .rip = failed.linear_rip,
             .vmcs = vmx_.current().address()};
    ++s.count;
    constexpr u64 most_notes = 16;
    if (notes_ != nullptr && s.count <= most_notes)
        notes_->note(fmt::format("{} failed at tick {}, RIP {:#x}: {}{}\n", failed.name, failed.ticks,
                                 failed.linear_rip,
                                 error ? vm_fail_text(*error) : fmt::format("VMfailInvalid ({})", s.text),
                                 s.count == most_notes ? " (further ones are only counted)" : ""));
}

void VmxFailures::aborted(VmxAbort why) {
    struct Row {
        VmxAbort abort;
        std::initializer_list<Field> fields;
    };
    static const Row rows[] = {
        {VmxAbort::msr_store, {"exit_msr_store_address"_f, "exit_msr_store_count"_f}},
        {VmxAbort::host_pdptes, {"host_cr3"_f, "host_cr4"_f}},
        {VmxAbort::msr_load, {"exit_msr_load_address"_f, "exit_msr_load_count"_f}},
        {VmxAbort::from_32_bit_host, {"exit_controls"_f, "entry_controls"_f}},
    };
    const Vmcs& v = vmx_.current();
    for (const VmxAbortRow& row : vmx_abort_rows)
        if (row.abort == why)
            abort_.push_back(fmt::format("VMX abort {}: {} (SDM \"VMX Aborts\"), VMCS {:#x}",
                                         static_cast<u32>(why), row.text, v.address()));
    for (const Row& row : rows)
        if (row.abort == why)
            for (const Field f : row.fields)
                abort_.push_back(field_line(read_field(v, f)));
    if (why == VmxAbort::msr_load)
        list_msrs(v["exit_msr_load_address"_f], v["exit_msr_load_count"_f]);
    if (why == VmxAbort::msr_store)
        list_msrs(v["exit_msr_store_address"_f], v["exit_msr_store_count"_f]);
}

void VmxFailures::list_msrs(u64 address, u64 count) {
    constexpr u64 most = 16;
    for (u64 n = 1; n <= std::min(count, most); ++n)
        abort_.push_back("  " + msr_entry(vmx_.cpu(), address, n));
    if (count > most)
        abort_.push_back(fmt::format("  and {} more", count - most));
}

// A guest's triple fault is an exit like any other; who explains entries wants to know what led to it, too.
void VmxFailures::exit_recognised(const ExitEvent& event) {
    if (notes_ == nullptr || event.row != "triple_fault"_exit)
        return;
    std::string text =
        fmt::format("triple fault of a guest at tick {}, RIP {:#x}\n", event.ticks, event.linear_rip);
    for (const std::string& line : triple_fault_lines(vmx_.cpu()))
        text += fmt::format("  {}\n", line);
    notes_->note(text);
}

namespace {

/// Adds up equal failures of several processors.
template <class Summary, class Key>
std::vector<Summary> merged(std::span<const VmxFailures* const> processors,
                            const std::map<Key, Summary>& (VmxFailures::*of)() const) {
    std::map<Key, Summary> all;
    for (const VmxFailures* failures : processors)
        for (const auto& [key, failure] : (failures->*of)()) {
            const auto [at, fresh] = all.try_emplace(key, failure);
            if (fresh)
                continue;
            const u64 count = at->second.count + failure.count;
            if (failure.first_tick < at->second.first_tick)
                at->second = failure;
            at->second.count = count;
        }
    std::vector<Summary> out;
    for (auto& [key, failure] : all)
        out.push_back(std::move(failure));
    std::stable_sort(out.begin(), out.end(),
                     [](const auto& a, const auto& b) { return a.first_tick < b.first_tick; });
    return out;
}

}  // namespace

std::vector<EntryFailureSummary> failed_entries(std::span<const VmxFailures* const> processors) {
    return merged(processors, &VmxFailures::entries);
}

std::vector<VmFailSummary> failed_instructions(std::span<const VmxFailures* const> processors) {
    return merged(processors, &VmxFailures::instructions);
}

std::vector<std::string> triple_fault_lines(const Cpu& cpu) {
    std::vector<std::string> lines;
    const FaultChain& chain = cpu.fault_chain;
    for (unsigned i = 0; i < chain.count; ++i) {
        const FaultChain::Link& link = chain.links[i];
        const bool exception = link.type == interruption::hardware_exception;
        const bool page_fault = exception && link.vector == static_cast<u8>(Vector::pf);
        lines.push_back(
            fmt::format("{}{}{}{}",
                        i == 0                 ? "first "
                        : i + 1 == chain.count ? "then, in the delivery of #DF, "
                                               : "then ",
                        exception ? vector_text(link.vector) : fmt::format("interrupt {}", link.vector),
                        link.has_code ? ", " + error_code_text(link.code, page_fault) : "",
                        page_fault ? fmt::format(", address {:#x}", link.cr2) : ""));
    }
    lines.push_back(
        fmt::format("RIP {:#x}, CS {:#x}, RSP {:#x}, CR2 {:#x}, CR3 {:#x}; IDT at {:#x}, limit {:#x}",
                    cpu.rip, cpu.segment(Seg::cs).selector, cpu.gpr[static_cast<unsigned>(Gpr::rsp)], cpu.cr2,
                    cpu.cr3, cpu.idtr.base, cpu.idtr.limit));
    return lines;
}

}  // namespace droste
