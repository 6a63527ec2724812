// SPDX-License-Identifier: Apache-2.0
// The keys of section [vmx]: one for each capability row, written by the compiler from the rows.
#include "machine/vmx_options.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "vmx/controls.h"

namespace droste {

namespace {

/// What a word is called, and the MSR that reports it. SDM "VMX Capability Reporting Facility".
constexpr std::array<std::string_view, vmx_words> word_texts = {
    "pin-based VM-execution controls (IA32_VMX_PINBASED_CTLS)",
    "primary processor-based VM-execution controls (IA32_VMX_PROCBASED_CTLS)",
    "secondary processor-based VM-execution controls (IA32_VMX_PROCBASED_CTLS2)",
    "tertiary processor-based VM-execution controls (IA32_VMX_PROCBASED_CTLS3)",
    "primary VM-exit controls (IA32_VMX_EXIT_CTLS)",
    "secondary VM-exit controls (IA32_VMX_EXIT_CTLS2)",
    "VM-entry controls (IA32_VMX_ENTRY_CTLS)",
    "EPT and VPID capabilities (IA32_VMX_EPT_VPID_CAP)",
    "miscellaneous VMX data (IA32_VMX_MISC)",
    "basic VMX information (IA32_VMX_BASIC)",
    "VM functions (IA32_VMX_VMFUNC)",
};

constexpr std::array<std::string_view, static_cast<unsigned>(VmxSince::unimplemented) + 1> since_texts = {
    "Since Nehalem.",      "Since Westmere.",  "Since Sandy Bridge.",
    "Since Ivy Bridge.",   "Since Haswell.",   "Since Broadwell.",
    "Since Skylake.",      "Since Ice Lake.",  "Since Sapphire Rapids.",
    "Only in model `max`.", "Comes with a routing.design whose links software programs.", "Droste does not have it: false is the only possible value.",
};

struct Text {
    std::array<char, 320> data{};
    std::size_t size = 0;
    constexpr void add(std::string_view s) {
        for (const char c : s) data[size++] = c;
    }
    constexpr void add(unsigned n) {
        if (n >= 10) add(n / 10);
        data[size++] = static_cast<char>('0' + n % 10);
    }
    constexpr std::string_view view() const { return {data.data(), size}; }
};
struct RowTexts {
    Text key, help;
};

constexpr auto texts = [] {
    std::array<RowTexts, capability_rows.size()> list{};
    for (std::size_t i = 0; i < list.size(); ++i) {
        const CapabilityRow& row = capability_rows[i];
        list[i].key.add("vmx.");
        list[i].key.add(row.name);
        Text& help = list[i].help;
        help.add("Bit ");
        help.add(row.bit);
        help.add(" of the ");
        help.add(word_texts[static_cast<unsigned>(row.word)]);
        help.add(". ");
        help.add(since_texts[static_cast<unsigned>(row.since)]);
        help.add(" `model`: as cpu.model has it. What depends on it goes with it when it is false; what it "
                 "needs must be there when it is true.");
    }
    return list;
}();

constexpr auto rows = [] {
    std::array<OptionRow, capability_rows.size()> list{};
    for (std::size_t i = 0; i < list.size(); ++i)
        list[i] = {.key = texts[i].key.view(),
                   .type = OptionType::boolean,
                   .default_text = "model",
                   .help = texts[i].help.view(),
                   .of_model = true};
    return list;
}();

}  // namespace

std::span<const OptionRow> vmx_options() { return rows; }

VmxChoices vmx_choices(const Options& options) {
    VmxChoices choices;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::string_view key = rows[i].key;
        if (options.left_to_model(key)) continue;
        const char sign = options.flag(key) ? '+' : '-';
        choices.changes.push_back(fmt::format("{}{}", sign, capability_rows[i].name));
        choices.places +=
            fmt::format("{}{} ({})", choices.places.empty() ? "" : ", ", key, options.origin(key));
    }
    return choices;
}

}  // namespace droste
