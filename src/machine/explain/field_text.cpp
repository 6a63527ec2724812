// SPDX-License-Identifier: Apache-2.0
// Names of the bits of VMCS fields.
#include "machine/explain/field_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "vmx/entry_explanation.h"
#include "vmx/interruption.h"

namespace droste {

namespace {

struct BitName {
    u8 bit;
    std::string_view name;
};

constexpr BitName cr0_names[] = {{0, "PE"},  {1, "MP"},  {2, "EM"},  {3, "TS"},  {4, "ET"}, {5, "NE"},
                                 {16, "WP"}, {18, "AM"}, {29, "NW"}, {30, "CD"}, {31, "PG"}};
constexpr BitName cr4_names[] = {
    {0, "VME"},   {1, "PVI"},      {2, "TSD"},       {3, "DE"},         {4, "PSE"},      {5, "PAE"},
    {6, "MCE"},   {7, "PGE"},      {8, "PCE"},       {9, "OSFXSR"},     {11, "UMIP"},    {12, "LA57"},
    {13, "VMXE"}, {14, "SMXE"},    {16, "FSGSBASE"}, {17, "PCIDE"},     {18, "OSXSAVE"}, {19, "KL"},
    {20, "SMEP"}, {21, "SMAP"},    {22, "PKE"},      {23, "CET"},       {24, "PKS"},     {25, "UINTR"},
    {27, "LASS"}, {28, "LAM_SUP"}, {32, "FRED"},     {10, "OSXMMEXCPT"}};
constexpr BitName efer_names[] = {{0, "SCE"}, {8, "LME"}, {10, "LMA"}, {11, "NXE"}};
constexpr BitName rflags_names[] = {{0, "CF"},   {1, "fixed 1"}, {2, "PF"},  {4, "AF"},  {6, "ZF"},
                                    {7, "SF"},   {8, "TF"},      {9, "IF"},  {10, "DF"}, {11, "OF"},
                                    {14, "NT"},  {16, "RF"},     {17, "VM"}, {18, "AC"}, {19, "VIF"},
                                    {20, "VIP"}, {21, "ID"}};
constexpr BitName interruptibility_names[] = {{0, "blocking by STI"},
                                              {1, "blocking by MOV SS"},
                                              {2, "blocking by SMI"},
                                              {3, "blocking by NMI"},
                                              {4, "enclave interruption"}};
constexpr BitName pending_debug_names[] = {{0, "B0"},  {1, "B1"},   {2, "B2"},
                                           {3, "B3"},  {11, "BLD"}, {12, "enabled breakpoint"},
                                           {14, "BS"}, {16, "RTM"}};
constexpr BitName debugctl_names[] = {{0, "LBR"}, {1, "BTF"}, {2, "BLD"},
                                      {6, "TR"},  {7, "BTS"}, {8, "BTINT"}};
constexpr BitName access_names[] = {{4, "S"},    {7, "P"},  {12, "AVL"},     {13, "L"},
                                    {14, "D/B"}, {15, "G"}, {16, "unusable"}};
constexpr BitName eptp_names[] = {{6, "accessed and dirty flags"}, {7, "supervisor shadow-stack control"}};

struct FieldNames {
    std::string_view part;  ///< of the field's name
    std::span<const BitName> names;
};
constexpr FieldNames families[] = {
    {"_cr0", cr0_names},
    {"cr0_", cr0_names},
    {"_cr4", cr4_names},
    {"cr4_", cr4_names},
    {"ia32_efer", efer_names},
    {"guest_rflags", rflags_names},
    {"guest_interruptibility_state", interruptibility_names},
    {"guest_pending_debug_exceptions", pending_debug_names},
    {"guest_ia32_debugctl", debugctl_names},
    {"_access_rights", access_names},
};

std::span<const BitName> names_of(Field field) {
    if (field == "eptp"_f)
        return eptp_names;
    for (const FieldNames& family : families)
        if (field->name.find(family.part) != std::string_view::npos)
            return family.names;
    return {};
}

/// The word of controls that the field holds; false: it holds none.
bool word_of(Field field, VmxWord& word) {
    for (unsigned w = 0; w < vmx_control_words; ++w)
        if (field_of_word(static_cast<VmxWord>(w)) == field) {
            word = static_cast<VmxWord>(w);
            return true;
        }
    return false;
}

std::string name_of_bit(Field field, unsigned bit) {
    if (VmxWord word{}; word_of(field, word)) {
        for (const CapabilityRow& row : capability_rows)
            if (row.word == word && row.bit == bit)
                return std::string(row.name);
        return "";
    }
    for (const BitName& n : names_of(field))
        if (n.bit == bit)
            return std::string(n.name);
    return "";
}

/// Set bits of `value` by name, those of `ignored` left out.
std::string bit_list(Field field, u64 value, u64 ignored = 0) {
    std::string out;
    for (unsigned bit = 0; bit < 64; ++bit)
        if ((value & ~ignored) >> bit & 1)
            out += fmt::format("{}{}", out.empty() ? "" : ", ", bit_text(field, bit));
    return out;
}

std::string access_text(Field field, u64 value) {
    const unsigned type = value & 15, dpl = value >> 5 & 3;
    std::string kind = fmt::format("type {}", type);
    if (value >> 4 & 1)
        kind += type & 8 ? fmt::format(": code{}{}{}", type & 4 ? " conforming" : "",
                                       type & 2 ? " readable" : "", type & 1 ? " accessed" : "")
                         : fmt::format(": data{}{}{}", type & 4 ? " expand-down" : "",
                                       type & 2 ? " writable" : "", type & 1 ? " accessed" : "");
    constexpr u64 type_and_dpl = 0x6F;
    const std::string bits = bit_list(field, value, type_and_dpl);
    return fmt::format("{:#x} ({}, DPL {}{}{})", value, kind, dpl, bits.empty() ? "" : ", ", bits);
}

std::string interruption_text(u64 value) {
    constexpr std::string_view types[] = {
        "external interrupt", "reserved type 1",    "NMI",
        "hardware exception", "software interrupt", "privileged software exception",
        "software exception", "other event"};
    if (!(value & interruption::valid))
        return fmt::format("{:#x} (not valid)", value);
    const unsigned type = value >> 8 & 7, vector = value & 0xFF;
    return fmt::format("{:#x} ({}, vector {}{}{})", value, types[type], vector,
                       type == interruption::hardware_exception ? fmt::format(" {}", vector_text(vector))
                                                                : "",
                       value & interruption::has_code ? ", with error code" : "");
}

}  // namespace

std::string vector_text(unsigned vector) {
    constexpr std::string_view names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM",
                                          "#DF", "9",   "#TS", "#NP", "#SS", "#GP", "#PF", "15",
                                          "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};
    return vector < std::size(names) ? std::string(names[vector]) : fmt::format("{}", vector);
}

std::string bit_text(Field field, unsigned bit) {
    const std::string name = name_of_bit(field, bit);
    return name.empty() ? fmt::format("bit {}", bit) : name;
}

std::string field_text(Field field, u64 value) {
    constexpr std::string_view activities[] = {"active", "HLT", "shutdown", "wait-for-SIPI"};
    if (field == "guest_activity_state"_f)
        return fmt::format("{} ({})", value,
                           value < std::size(activities) ? activities[value] : "no such state");
    if (field->name.ends_with("_access_rights"))
        return access_text(field, value);
    if (field->name.ends_with("interruption_information"))
        return interruption_text(value);
    if (field == "eptp"_f) {
        constexpr u64 type_and_length = 0x3F, flags = 0xFC0;
        const std::string bits = bit_list(field, value & flags);
        return fmt::format("{:#x} (memory type {}, page-walk length {}{}{}, table at {:#x})", value,
                           value & 7, ((value & type_and_length) >> 3) + 1, bits.empty() ? "" : ", ", bits,
                           value & ~(type_and_length | flags));
    }
    VmxWord word{};
    if (!word_of(field, word) && names_of(field).empty())
        return fmt::format("{:#x}", value);
    const std::string bits = bit_list(field, value);
    return fmt::format("{:#x} ({})", value, bits.empty() ? "none set" : bits);
}

}  // namespace droste
