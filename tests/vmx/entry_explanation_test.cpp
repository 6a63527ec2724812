// SPDX-License-Identifier: Apache-2.0
// Explanations of failed checks, and what observers and recorders hear of entries, writes and failures.
#include "vmx/entry_explanation.h"

#include <gtest/gtest.h>

#include <set>

#include "vmx_machine.h"

namespace droste::test {
namespace {

/// Explains the check that fails, and keeps what else is told.
class Listener final : public VmxObserver, public FieldRecorder {
public:
    void entry_check_failed(const EntryEvent& event, const EntryCheck& check,
                            const EntryContext& x) override {
        name = check.name;
        section = section_of(check);
        why = explain(check, x);
        entry = event;
    }
    void entry_msr_failed(const EntryEvent&, u64 number) override { msr = number; }
    void instruction_failed(const FailedInstruction& f) override { failed.push_back(f); }
    void aborted(VmxAbort a) override { abort = a; }
    void wrote(const FieldWrite& w) override { writes.push_back(w); }

    const FieldFinding* field(Field f) const {
        for (const FieldFinding& x : why.fields)
            if (x.field == f)
                return &x;
        return nullptr;
    }
    const ControlFinding* control(Capability c) const {
        for (const ControlFinding& x : why.controls)
            if (x.control == c)
                return &x;
        return nullptr;
    }
    std::string_view name, section;
    EntryExplanation why;
    EntryEvent entry;
    u64 msr = 0;
    VmxAbort abort = VmxAbort::none;
    std::vector<FailedInstruction> failed;
    std::vector<FieldWrite> writes;
};

class Explanation : public ::testing::Test {
protected:
    Explanation() {
        m.vmx.add_observer(heard);
        m.start();
    }
    void refuse(Field f, u64 value) {
        m.set(f, value);
        EXPECT_FALSE(m.enter());
    }
    VmxMachine m;
    Listener heard;
};

TEST_F(Explanation, OneBitThatIsMissing) {
    refuse("guest_rflags"_f, 0);
    EXPECT_EQ(heard.name, "guest RFLAGS: reserved bits");
    EXPECT_EQ(heard.section, "Checks on Guest RIP, RFLAGS, and SSP");
    ASSERT_EQ(heard.why.fields.size(), 1u);
    EXPECT_EQ(heard.why.fields[0].field, "guest_rflags"_f);
    EXPECT_EQ(heard.why.fields[0].value, 0u);
    EXPECT_EQ(heard.why.fields[0].flips, 2u);
    EXPECT_FALSE(heard.why.fields[0].zero_passes || heard.why.fields[0].ones_pass);
    EXPECT_EQ(heard.entry.vmcs, VmxMachine::vmcs_a);
    EXPECT_EQ(heard.entry.linear_rip, VmxMachine::code);
}

TEST_F(Explanation, OneBitTooMany) {
    refuse("guest_rflags"_f, 0x8002);
    EXPECT_EQ(heard.why.fields[0].flips, 0x8000u);
}

TEST_F(Explanation, TwoBitsTogether) {
    refuse("host_cs_selector"_f, 0x0B);
    EXPECT_EQ(heard.section, "Checks on Host Segment and Descriptor-Table Registers");
    const FieldFinding* cs = heard.field("host_cs_selector"_f);
    ASSERT_NE(cs, nullptr);
    EXPECT_EQ(cs->flips, 0u);
    EXPECT_EQ(cs->together, 3u);
    EXPECT_TRUE(cs->zero_passes);
    const FieldFinding* es = heard.field("host_es_selector"_f);
    ASSERT_NE(es, nullptr) << "it was looked at before";
    EXPECT_FALSE(es->decides());
}

TEST_F(Explanation, ZeroWouldPass) {
    refuse("cr3_target_count"_f, 0xC8);
    EXPECT_EQ(heard.section, "VM-Execution Control Fields");
    const FieldFinding* count = heard.field("cr3_target_count"_f);
    ASSERT_NE(count, nullptr);
    EXPECT_TRUE(count->zero_passes && count->flips == 0 && count->together == 0);
}

TEST_F(Explanation, AllOnesWouldPass) {
    refuse("vmcs_link_pointer"_f, 0x123);
    EXPECT_TRUE(heard.field("vmcs_link_pointer"_f)->ones_pass);
    EXPECT_FALSE(heard.field("vmcs_link_pointer"_f)->zero_passes);
}

TEST_F(Explanation, AnyOtherValue) {
    m.enable("enable_vpid"_vmx);
    refuse("virtual_processor_identifier"_f, 0);
    EXPECT_EQ(heard.field("virtual_processor_identifier"_f)->flips, 0xFFFFu);
    EXPECT_TRUE(heard.control("enable_vpid"_vmx)->decides);
}

TEST_F(Explanation, ControlsThatDoNotGoTogether) {
    m.enable("virtual_nmis"_vmx);
    m.disable("nmi_exiting"_vmx);
    EXPECT_FALSE(m.enter());
    const ControlFinding *nmis = heard.control("virtual_nmis"_vmx),
                         *exiting = heard.control("nmi_exiting"_vmx);
    ASSERT_TRUE(nmis != nullptr && exiting != nullptr);
    EXPECT_TRUE(nmis->value && nmis->decides);
    EXPECT_TRUE(!exiting->value && exiting->decides);
    EXPECT_TRUE(heard.why.fields.empty());
}

TEST_F(Explanation, ReservedControlIsAFieldOfBits) {
    const u64 before = m.get("pin_based_controls"_f);
    refuse("pin_based_controls"_f, before | 1u << 20);
    const FieldFinding* pin = heard.field("pin_based_controls"_f);
    ASSERT_NE(pin, nullptr);
    EXPECT_EQ(pin->flips, 1u << 20);
}

TEST_F(Explanation, FieldsOfTheCheckOnly) {
    refuse("guest_activity_state"_f, 7);
    ASSERT_EQ(heard.why.fields.size(), 1u);
    EXPECT_EQ(heard.why.fields[0].flips, 1u << 2) << "7 without bit 2 is wait-for-SIPI";
    EXPECT_TRUE(heard.why.fields[0].zero_passes);
}

TEST_F(Explanation, AsksWithoutChangingAnything) {
    m.set("guest_cs_access_rights"_f, 0xA093);
    std::vector<u64> before;
    for (u64 at = 0; at < 4096; at += 8)
        before.push_back(m.cpu.memory.read64(VmxMachine::vmcs_a + at));
    EXPECT_FALSE(m.enter());
    EXPECT_EQ(heard.name, "guest CS: type");
    EXPECT_FALSE(heard.why.fields.empty());
    constexpr Field written[] = {"exit_reason"_f, "exit_qualification"_f};
    for (u64 at = 0; at < 4096; at += 8) {
        bool by_failure = false;
        for (const Field f : written)
            by_failure |= at == vmcs_layout::fields + 8u * vmx_detail::field_place[f.row];
        if (by_failure)
            continue;
        EXPECT_EQ(m.cpu.memory.read64(VmxMachine::vmcs_a + at), before[at / 8]) << at;
    }
}

/// A probe may try any address: only RAM answers.
TEST_F(Explanation, ProbesReachNoDevice) {
    class Silent final : public EntryProbe {
    public:
        u64 field(Field, u64 value) override { return value; }
        u64 word(VmxWord, u64 value) override { return value; }
        bool control(Capability c, u64 word) override { return (word >> c.bit) & 1; }
    } probe;
    const Vmcs v = m.vmx.current();
    const Controls c;
    const EntryContext probed{EntryFields(v, &probe), EntryControls(c, &probe), m.vmx.capabilities(), m.cpu};
    m.cpu.memory.write64(0x3000, 0x1122'3344'5566'7788);
    EXPECT_EQ(probed.memory(0x3000, Width::qword), 0x1122'3344'5566'7788u);
    EXPECT_EQ(probed.memory(0x3001, Width::byte), 0x77u);
    EXPECT_EQ(probed.memory(0xFEE0'0020, Width::dword), 0xFFFF'FFFFu);
    EXPECT_EQ(probed.memory(0x3FFC, Width::qword), ~0ull) << "across a page";
}

TEST(EntrySections, EveryCheckHasOne) {
    const std::set<std::string_view> titles = {
        "VM-Execution Control Fields",
        "VM-Exit Control Fields",
        "VM-Entry Control Fields",
        "Checks on Host Control Registers, MSRs, and SSP",
        "Checks on Host Segment and Descriptor-Table Registers",
        "Checks Related to Address-Space Size",
        "Checks on Guest Control Registers, Debug Registers, and MSRs",
        "Checks on Guest Segment Registers",
        "Checks on Guest Descriptor-Table Registers",
        "Checks on Guest RIP, RFLAGS, and SSP",
        "Checks on Guest Non-Register State",
        "Checks on Guest Page-Directory-Pointer-Table Entries",
    };
    std::set<std::string_view> seen;
    for (const auto checks : {control_entry_checks(), host_entry_checks(), guest_entry_checks()})
        for (const EntryCheck& check : checks) {
            EXPECT_TRUE(titles.contains(section_of(check))) << check.name << ": " << section_of(check);
            seen.insert(section_of(check));
        }
    EXPECT_EQ(seen, titles);
    const auto section = [](std::string_view name) {
        for (const auto checks : {control_entry_checks(), host_entry_checks(), guest_entry_checks()})
            for (const EntryCheck& check : checks)
                if (check.name == name)
                    return section_of(check);
        return std::string_view("no such check");
    };
    // The last of one section and the first of the next.
    EXPECT_EQ(section("TSC multiplier is not 0"), "VM-Execution Control Fields");
    EXPECT_EQ(section("VM-exit controls: reserved bits"), "VM-Exit Control Fields");
    EXPECT_EQ(section("VM-exit MSR-load area"), "VM-Exit Control Fields");
    EXPECT_EQ(section("VM-entry controls: reserved bits"), "VM-Entry Control Fields");
    EXPECT_EQ(section("host selectors: RPL and TI are 0"),
              "Checks on Host Segment and Descriptor-Table Registers");
    EXPECT_EQ(section("64-bit host: RIP is canonical"), "Checks Related to Address-Space Size");
    EXPECT_EQ(section("guest TR selector: TI is 0"), "Checks on Guest Segment Registers");
    EXPECT_EQ(section("guest LDTR: access rights and limit"), "Checks on Guest Segment Registers");
    EXPECT_EQ(section("guest RFLAGS.IF is 1 when an external interrupt is injected"),
              "Checks on Guest RIP, RFLAGS, and SSP");
    EXPECT_EQ(section("VMCS link pointer"), "Checks on Guest Non-Register State");
}

TEST(EntrySections, WordsHaveTheirFields) {
    const std::pair<VmxWord, u16> rows[] = {{VmxWord::pin, 0x4000},       {VmxWord::primary, 0x4002},
                                            {VmxWord::secondary, 0x401E}, {VmxWord::tertiary, 0x2034},
                                            {VmxWord::exit, 0x400C},      {VmxWord::secondary_exit, 0x2044},
                                            {VmxWord::entry, 0x4012}};
    for (const auto& [word, encoding] : rows)
        EXPECT_EQ(field_of_word(word)->encoding, encoding);
}

TEST_F(Explanation, MsrAreaNamesTheEntry) {
    m.poke<u64>(VmxMachine::msr_list, 0x10);
    m.poke<u64>(VmxMachine::msr_list + 16, 0xC000'0100);
    m.set("entry_msr_load_address"_f, VmxMachine::msr_list);
    m.set("entry_msr_load_count"_f, 2);
    EXPECT_FALSE(m.enter());
    EXPECT_EQ(heard.msr, 2u);
}

TEST_F(Explanation, AbortIsTold) {
    m.poke<u64>(VmxMachine::msr_list, 0xC000'0100);
    m.set("exit_msr_load_address"_f, VmxMachine::msr_list);
    m.set("exit_msr_load_count"_f, 1);
    m.run_guest({0x0F, 0xA2});
    EXPECT_EQ(heard.abort, VmxAbort::msr_load);
}

TEST_F(Explanation, FailedInstructionsAreNamed) {
    constexpr u8 rax = 0, rdx = 2;
    m.cpu.gpr[rax] = 0x6FFE;
    m.cpu.rip = VmxMachine::code;
    (void)m.execute({0x0F, 0x79, 0xC2});  // VMWRITE
    m.cpu.gpr[rax] = 0x6FFE;
    (void)m.execute({0x0F, 0x78, 0xC2});  // VMREAD
    ASSERT_EQ(heard.failed.size(), 2u);
    EXPECT_EQ(heard.failed[0].name, "VMWRITE");
    EXPECT_EQ(heard.failed[0].error, VmxError::unsupported_field);
    EXPECT_EQ(heard.failed[0].linear_rip, VmxMachine::code);
    EXPECT_EQ(heard.failed[1].name, "VMREAD");
    m.cpu.gpr[rdx] = 0x123;
    (void)m.execute({0x0F, 0x01, 0xC3});  // VMRESUME of a VMCS that is clear
    ASSERT_EQ(heard.failed.size(), 3u);
    EXPECT_EQ(heard.failed[2].name, "VMRESUME");
    EXPECT_EQ(heard.failed[2].error, VmxError::vmresume_not_launched);
    EXPECT_EQ(m.vmx.vmclear(VmxMachine::vmcs_a), Outcome::next);
    (void)m.execute({0x0F, 0x01, 0xC2});
    ASSERT_EQ(heard.failed.size(), 4u);
    EXPECT_EQ(heard.failed[3].name, "VMLAUNCH");
    EXPECT_EQ(heard.failed[3].error, std::nullopt);
}

TEST_F(Explanation, WritesAreRecordedAtTheirExactPlaceAndTime) {
    m.vmx.set_field_recorder(&heard);
    // nop; nop; vmwrite rax, rdx; nop: the write is in the middle of a block.
    m.write(VmxMachine::code, {0x90, 0x90, 0x0F, 0x79, 0xC2, 0x90, 0xEB, 0xFE});
    m.cpu.gpr[0] = 0x681E;
    m.cpu.gpr[2] = 0x1234;
    m.cpu.rip = VmxMachine::code;
    const u64 start = m.cpu.ticks();
    m.run_for(20);
    ASSERT_EQ(heard.writes.size(), 1u);
    EXPECT_EQ(heard.writes[0].field, "guest_rip"_f);
    EXPECT_EQ(heard.writes[0].value, 0x1234u);
    EXPECT_EQ(heard.writes[0].vmcs, VmxMachine::vmcs_a);
    EXPECT_EQ(heard.writes[0].linear_rip, VmxMachine::code + 2);
    EXPECT_EQ(heard.writes[0].ticks, start + 2);
    m.vmx.set_field_recorder(nullptr);
    m.cpu.gpr[0] = 0x681E;
    m.cpu.rip = VmxMachine::code;
    m.run_for(20);
    EXPECT_EQ(heard.writes.size(), 1u);
}

}  // namespace
}  // namespace droste::test
