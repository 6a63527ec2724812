// SPDX-License-Identifier: Apache-2.0
// Explanations by trial: no table says what a check depends on, the check itself does.
#include "vmx/entry_explanation.h"

#include <algorithm>
#include <optional>

namespace droste {

namespace {

/// Notes what is read, in order, and answers with at most one thing changed.
class Recorder final : public EntryProbe {
public:
    u64 field(Field f, u64 value) override {
        note(f, value);
        return changed_ && changed_->field == f ? changed_->value : value;
    }
    u64 word(VmxWord w, u64 value) override {
        const Field f = field_of_word(w);
        note(f, value);
        return changed_ && changed_->field == f ? changed_->value : value;
    }
    bool control(Capability c, u64 word) override {
        const bool value = (word >> c.bit) & 1;
        const auto known = std::find_if(controls.begin(), controls.end(),
                                        [&](const ControlFinding& x) { return x.control == c; });
        if (known == controls.end())
            controls.push_back({.control = c, .value = value});
        return flipped_ && *flipped_ == c ? !value : value;
    }

    std::vector<FieldFinding> fields;
    std::vector<ControlFinding> controls;
    struct Change {
        Field field;
        u64 value;
    };
    std::optional<Change> changed_;
    std::optional<Capability> flipped_;

private:
    void note(Field f, u64 value) {
        const auto known =
            std::find_if(fields.begin(), fields.end(), [&](const FieldFinding& x) { return x.field == f; });
        if (known == fields.end())
            fields.push_back({.field = f, .value = value});
    }
};

bool passes(const EntryCheck& check, const EntryContext& x, Recorder& probe) {
    const EntryContext probed{EntryFields(x.v.vmcs(), &probe), EntryControls(x.c.controls(), &probe), x.caps,
                              x.cpu};
    return check.passes(probed);
}

bool passes_with(const EntryCheck& check, const EntryContext& x, Field f, u64 value) {
    Recorder probe;
    probe.changed_ = {f, value & f->mask()};
    return passes(check, x, probe);
}

void try_single_bits(const EntryCheck& check, const EntryContext& x, FieldFinding& found) {
    for (u64 bit = 1; bit != 0 && (bit & found.field->mask()) != 0; bit <<= 1)
        if (passes_with(check, x, found.field, found.value ^ bit))
            found.flips |= bit;
    const u64 ones = found.field->mask();
    found.zero_passes = found.value != 0 && passes_with(check, x, found.field, 0);
    found.ones_pass = found.value != ones && passes_with(check, x, found.field, ones);
}

void try_pairs_of_bits(const EntryCheck& check, const EntryContext& x, FieldFinding& found) {
    for (u64 a = 1; a != 0 && (a & found.field->mask()) != 0; a <<= 1)
        for (u64 b = a << 1; b != 0 && (b & found.field->mask()) != 0; b <<= 1)
            if (passes_with(check, x, found.field, found.value ^ a ^ b)) {
                found.together = a | b;
                return;
            }
}

}  // namespace

EntryExplanation explain(const EntryCheck& check, const EntryContext& context) {
    Recorder first;
    (void)passes(check, context, first);
    EntryExplanation e{std::move(first.fields), std::move(first.controls)};
    bool decided = false;
    for (FieldFinding& f : e.fields) {
        try_single_bits(check, context, f);
        decided |= f.flips != 0;
    }
    for (ControlFinding& c : e.controls) {
        Recorder probe;
        probe.flipped_ = c.control;
        c.decides = passes(check, context, probe);
        decided |= c.decides;
    }
    if (!decided)
        for (FieldFinding& f : e.fields)
            try_pairs_of_bits(check, context, f);
    return e;
}

std::string_view section_of(const EntryCheck& check) {
    struct Part {
        std::span<const EntryCheck> checks;
        std::span<const EntrySection> sections;
    };
    for (const Part& part : {Part{control_entry_checks(), control_entry_sections()},
                             Part{host_entry_checks(), host_entry_sections()},
                             Part{guest_entry_checks(), guest_entry_sections()}}) {
        std::string_view title;
        for (const EntryCheck& row : part.checks) {
            for (const EntrySection& s : part.sections)
                if (s.first == row.name)
                    title = s.title;
            if (row.name == check.name)
                return title;
        }
    }
    return "";
}

Field field_of_word(VmxWord word) {
    switch (word) {
    case VmxWord::pin:
        return "pin_based_controls"_f;
    case VmxWord::primary:
        return "primary_processor_based_controls"_f;
    case VmxWord::secondary:
        return "secondary_processor_based_controls"_f;
    case VmxWord::tertiary:
        return "tertiary_processor_based_controls"_f;
    case VmxWord::exit:
        return "exit_controls"_f;
    case VmxWord::secondary_exit:
        return "secondary_exit_controls"_f;
    default:
        return "entry_controls"_f;
    }
}

}  // namespace droste
