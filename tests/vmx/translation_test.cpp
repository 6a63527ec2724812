// SPDX-License-Identifier: Apache-2.0
// Controls of the translation of guest addresses: what a guest and its hypervisor see of them.
#include <gtest/gtest.h>

#include "vmx_machine.h"

namespace droste::test {
namespace {

constexpr u64 at = VmxMachine::guest_code;
/// A page of its own in EPT, mapped by 4 KBytes.
constexpr u64 page = 0x40'0000, ept_table = 0x22'0000, ve_area = 0x22'1000;

class Translation : public ::testing::Test {
protected:
    Translation() {
        m.start();
        m.enable_ept();
        for (u64 i = 0; i < 512; ++i) m.poke<u64>(ept_table + 8 * i, (page + (i << 12)) | 0x37);
        m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * (page >> 21), ept_table | 7);
    }
    void map(u64 entry, unsigned index = 0) { m.poke<u64>(ept_table + 8 * index, entry); }
    void tertiary(Capability c) {
        m.enable("activate_tertiary_controls"_vmx);
        m.enable(c);
    }
    u32 run(const std::vector<u8>& bytes, u64 ticks = 200) {
        m.write(at, bytes);
        m.poke<u8>(at + bytes.size(), 0xF4);
        m.set("guest_rip"_f, at);
        m.set("guest_rsp"_f, VmxMachine::guest_stack);
        m.cpu.activity = Activity::active;
        m.cpu.mmu.flush_all();
        return m.resume(ticks);
    }
    static std::vector<u8> with_address(std::initializer_list<u8> opcode, u64 address,
                                        std::initializer_list<u8> tail = {}) {
        std::vector<u8> b(opcode);
        for (unsigned i = 0; i < 4; ++i) b.push_back(static_cast<u8>(address >> (8 * i)));
        b.insert(b.end(), tail);
        b.insert(b.end(), {0x0F, 0xA2});
        return b;
    }
    /// mov byte [address], 0x5A; cpuid
    u32 store(u64 address) { return run(with_address({0xC6, 0x04, 0x25}, address, {0x5A})); }
    u32 load(u64 address) { return run(with_address({0x8A, 0x1C, 0x25}, address)); }
    /// call address; cpuid: at `address` stands RET
    u32 call(u64 address) {
        m.poke<u8>(address, 0xC3);
        return run(with_address({0x48, 0xC7, 0xC0}, address, {0xFF, 0xD0}));
    }
    VmxMachine m;
};

TEST_F(Translation, ModeBasedExecution) {
    map(page | 0x33);  // no execution
    EXPECT_EQ(call(page), 48u);
    EXPECT_EQ(m.qualification(), 0x79Cu);
    m.enable("mode_based_execute_control_for_ept"_vmx);
    for (u64 i = 0; i < 512; ++i) m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * i, (i << 21) | 0x4B7);
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * (page >> 21), ept_table | 0x407);
    for (const u64 table : {VmxMachine::ept_tables, VmxMachine::ept_tables + 0x1000})
        m.poke<u64>(table, m.peek<u64>(table) | 0x400);
    // The fixture's pages are user-mode addresses: bit 10 counts, whatever the CPL is.
    map(page | 0x433);
    EXPECT_EQ(call(page), 10u);
    map(page | 0x37);
    EXPECT_EQ(call(page), 48u);
    EXPECT_EQ(m.qualification() & 0x7F, 0x3Cu);
    EXPECT_EQ(m.get("guest_linear_address"_f), page);
    EXPECT_EQ(m.get("guest_physical_address"_f), page);
    map(page | 0x433);
    m.disable("mode_based_execute_control_for_ept"_vmx);
    EXPECT_EQ(call(page), 48u);
}

TEST_F(Translation, AdvancedExitInformation) {
    map(page | 0x30);
    EXPECT_EQ(load(page), 48u);
    EXPECT_EQ(m.qualification(), 0x781u) << "a writable, executable user-mode address";
    m.map(0x5000'0000, page, 1);  // read-only, supervisor
    m.map(0x5000'1000, page, 1ull << 63 | 7);
    m.cpu.mmu.flush_all();
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * (page >> 21), ept_table | 7);
    EXPECT_EQ(load(0x5000'0000), 48u);
    EXPECT_EQ(m.qualification(), 0x181u);
    EXPECT_EQ(load(0x5000'1000), 48u);
    EXPECT_EQ(m.qualification(), 0xF81u);
}

TEST_F(Translation, SubPageWritePermissions) {
    m.enable("sub_page_write_permissions_for_ept"_vmx);
    constexpr u64 root = 0x23'0000;
    m.set("sub_page_permission_table_pointer"_f, root);
    map(page | 0x31 | 1ull << 61);
    EXPECT_EQ(store(page + 0x80), 66u);
    EXPECT_EQ(m.qualification(), 0x800u) << "a miss";
    EXPECT_EQ(m.get("guest_physical_address"_f), page + 0x80);
    EXPECT_EQ(m.get("guest_linear_address"_f), page + 0x80);
    EXPECT_EQ(m.get("guest_rip"_f), at);
    EXPECT_NE(m.get("guest_rflags"_f) & rflags_bits::rf, 0u);
    m.poke<u64>(root, (root + 0x1000) | 3);
    EXPECT_EQ(store(page + 0x80), 66u);
    EXPECT_EQ(m.qualification(), 0u) << "a misconfiguration";
    m.poke<u64>(root, (root + 0x1000) | 1);
    m.poke<u64>(root + 0x1000, (root + 0x2000) | 1);
    m.poke<u64>(root + 0x2000 + 8 * (page >> 21), (root + 0x3000) | 1);
    m.poke<u64>(root + 0x3000, 1ull << 2);  // the second sub-page of the first page
    EXPECT_EQ(store(page + 0x80), 10u);
    EXPECT_EQ(m.peek<u8>(page + 0x80), 0x5A);
    EXPECT_EQ(store(page + 0x100), 48u);
    EXPECT_EQ(m.qualification() & 0x3F, 0x0Au);
    // A write across two sub-pages needs both: mov qword [page + 0xFC], rax
    EXPECT_EQ(run(with_address({0x48, 0x89, 0x04, 0x25}, page + 0xFC)), 48u);
    EXPECT_EQ(run(with_address({0x48, 0x89, 0x04, 0x25}, page + 0xF8)), 10u);
    // An IRET tells of NMIs.
    EXPECT_EQ(load(page), 10u);
}

TEST_F(Translation, VirtualizationExceptions) {
    m.enable("ept_violation_ve"_vmx);
    m.set("virtualization_exception_information_address"_f, ve_area);
    m.set("eptp_index"_f, 0x1234);
    map(page | 0x31);
    EXPECT_EQ(store(page + 8), 0xFFFFu);
    EXPECT_EQ(m.stopped_at(), 20);
    EXPECT_EQ(m.peek<u64>(m.cpu.reg(Gpr::rsp)), at) << "no error code";
    EXPECT_NE(m.peek<u64>(m.cpu.reg(Gpr::rsp) + 16) & rflags_bits::rf, 0u);
    EXPECT_EQ(m.peek<u32>(ve_area), 48u);
    EXPECT_EQ(m.peek<u32>(ve_area + 4), 0xFFFFFFFFu);
    EXPECT_EQ(m.peek<u64>(ve_area + 8), 0x78Au);
    EXPECT_EQ(m.peek<u64>(ve_area + 16), page + 8);
    EXPECT_EQ(m.peek<u64>(ve_area + 24), page + 8);
    EXPECT_EQ(m.peek<u16>(ve_area + 32), 0x1234u);
    m.exit_by_cpuid();

    EXPECT_EQ(store(page), 48u) << "the area is busy";
    m.poke<u32>(ve_area + 4, 0);
    map(page | 0x31 | 1ull << 63);
    EXPECT_EQ(store(page), 48u) << "suppressed";
    map(page | 0x31);
    m.set("exception_bitmap"_f, 1u << 20);
    EXPECT_EQ(store(page), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000314u);
    EXPECT_EQ(m.peek<u32>(ve_area + 4), 0xFFFFFFFFu) << "the information is written all the same";
    m.set("exception_bitmap"_f, 0);
    m.poke<u32>(ve_area + 4, 0);
    // Misconfigurations stay exits.
    map(page | 0x32);
    EXPECT_EQ(store(page), 49u);
    // So do violations during the delivery of an event.
    map(page | 0x31);
    m.set("guest_rsp"_f, page + 0x100);
    m.write(at, {0x0F, 0x0B});
    m.set("guest_rip"_f, at);
    EXPECT_EQ(m.resume(), 48u);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000306u);
    EXPECT_EQ(m.peek<u32>(ve_area + 4), 0u);
    m.disable("ept_violation_ve"_vmx);
    EXPECT_EQ(store(page), 48u);
}

TEST_F(Translation, VirtualizationExceptionThatCannotBeDelivered) {
    m.enable("ept_violation_ve"_vmx);
    m.set("virtualization_exception_information_address"_f, ve_area);
    m.set("guest_idtr_limit"_f, 20 * 16 - 1);
    m.set("exception_bitmap"_f, 1u << 8 | 1u << 13);
    map(page | 0x31);
    EXPECT_EQ(store(page), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000B0Du);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000314u);
    m.poke<u32>(ve_area + 4, 0);
    m.set("exception_bitmap"_f, 1u << 8);
    EXPECT_EQ(store(page), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f) & 0x800007FF, 0x80000308u) << "as serious as a page fault";
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0u);
}

TEST_F(Translation, RealModeHasNoVirtualizationExceptions) {
    m.enable("ept_violation_ve"_vmx);
    m.enable("unrestricted_guest"_vmx);
    m.set("virtualization_exception_information_address"_f, ve_area);
    m.disable("ia32e_mode_guest"_vmx);
    m.drop("guest_cr0"_f, cr0_bits::pe | cr0_bits::pg);
    for (unsigned i = 0; i < 6; ++i) {
        m.set("guest_es_access_rights"_f + i, 0x93);
        m.set("guest_es_limit"_f + i, 0xFFFF);
    }
    m.set("guest_cs_access_rights"_f, 0x9B);
    m.set("guest_ds_base"_f, page);
    map(page | 0x31);
    EXPECT_EQ(run({0xC6, 0x06, 0x00, 0x00, 0x01}), 48u);  // mov byte [0], 1
    EXPECT_EQ(m.peek<u32>(ve_area + 4), 0u);
}

TEST_F(Translation, EptpSwitching) {
    m.enable("enable_vm_functions"_vmx);
    m.set("vm_function_controls"_f, 1);
    constexpr u64 other = 0x24'0000;
    // The other EPT: everything as before but for one page.
    m.poke<u64>(other, (other + 0x1000) | 7);
    m.poke<u64>(other + 0x1000, (other + 0x2000) | 7);
    for (u64 i = 0; i < 512; ++i) m.poke<u64>(other + 0x2000 + 8 * i, (i << 21) | 0xB7);
    m.poke<u8>(0x80'0123, 0x77);
    m.poke<u64>(other + 0x2000 + 8 * (page >> 21), 0x80'0000 | 0xB7);
    const u64 good = other | 0x5E;
    m.poke<u64>(VmxMachine::eptp_list + 8 * 511, good);
    // mov ecx, index; xor eax, eax; vmfunc; mov bl, [page + 0x123]; cpuid
    const auto switch_to = [&](u32 index, u32 function = 0) {
        m.set("eptp"_f, VmxMachine::ept_tables | 0x5E);
        m.set("eptp_index"_f, 0xAAAA);
        m.cpu.reg(Gpr::rbx) = 0;
        std::vector<u8> b = {0xB9};
        for (unsigned i = 0; i < 4; ++i) b.push_back(static_cast<u8>(index >> (8 * i)));
        b.push_back(0xB8);
        for (unsigned i = 0; i < 4; ++i) b.push_back(static_cast<u8>(function >> (8 * i)));
        b.insert(b.end(), {0x0F, 0x01, 0xD4, 0x8A, 0x1C, 0x25, 0x23, 0x01, 0x40, 0x00, 0x0F, 0xA2});
        return run(b);
    };
    EXPECT_EQ(switch_to(511), 10u);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx) & 0xFF, 0x77u);
    EXPECT_EQ(m.get("eptp"_f), good);
    EXPECT_EQ(m.get("eptp_index"_f), 511u);
    const auto refused = [&](u32 index, u32 function = 0) {
        EXPECT_EQ(switch_to(index, function), 59u);
        EXPECT_EQ(m.get("exit_instruction_length"_f), 3u);
        EXPECT_EQ(m.get("guest_rip"_f), at + 10);
        EXPECT_EQ(m.get("eptp_index"_f), 0xAAAAu);
        EXPECT_EQ(m.get("eptp"_f), VmxMachine::ept_tables | 0x5E);
    };
    refused(512);
    refused(0xFFFFFFFF);
    refused(511, 1);
    refused(511, 63);
    for (const u64 bad : {good ^ 0x20 ^ 0x18, good | 0x100, good | u64{1} << 46, good ^ 2, u64{0}}) {
        m.poke<u64>(VmxMachine::eptp_list + 8 * 5, bad);
        refused(5);
    }
    // Five levels are valid, but a switch does not change the length of the walk.
    const u64 five = (good & ~0x38ull) | 4 << 3;
    m.poke<u64>(VmxMachine::eptp_list + 8 * 5, five);
    EXPECT_TRUE(valid_eptp(m.vmx.capabilities(), five));
    refused(5);
    // Functions above 63 do not exist at all.
    m.set("exception_bitmap"_f, 1u << 6);
    EXPECT_EQ(switch_to(511, 64), 0u);
    EXPECT_EQ(m.get("exit_interruption_information"_f), 0x80000306u);
    m.set("vm_function_controls"_f, 0);
    refused(511);
}

TEST_F(Translation, FiveLevels) {
    constexpr u64 root = 0x24'0000;
    m.poke<u64>(root, VmxMachine::ept_tables | 7);
    m.set("eptp"_f, root | 0x5E | 4 << 3);
    m.drop("eptp"_f, 0x18);
    m.add("eptp"_f, 4 << 3);
    EXPECT_EQ(load(page), 10u);
    m.poke<u64>(root, 0);
    EXPECT_EQ(load(page), 48u);
    VmxMachine old({"-ept_walk_length_5"});
    EXPECT_FALSE(valid_eptp(old.vmx.capabilities(), root | 0x46 | 4 << 3));
    EXPECT_TRUE(valid_eptp(old.vmx.capabilities(), root | 0x46 | 3 << 3));
}

TEST_F(Translation, HlatPointer) {
    tertiary("enable_hlat"_vmx);
    // HLAT tables of their own that map the high page elsewhere; all else is restarted.
    constexpr u64 high = 0xFFFF'8000'0000'0000, hlat = 0x25'0000;
    m.poke<u64>(hlat + 8 * 256, (hlat + 0x1000) | 7);
    m.poke<u64>(hlat + 0x1000, (hlat + 0x2000) | 7);
    m.poke<u64>(hlat + 0x2000, 0x20'0000 * 3 | 0x87);
    m.poke<u64>(hlat, 7 | 1ull << 11);
    m.set("hlat_pointer"_f, hlat);
    m.poke<u64>(0x60'0010, 0xABCD);
    m.set("hlat_prefix_size"_f, 0);
    m.cpu.reg(Gpr::rsi) = high + 0x10;
    const std::vector<u8> load_high = {0x48, 0x8B, 0x1E, 0x0F, 0xA2};  // mov rbx, [rsi]; cpuid
    EXPECT_EQ(run(load_high), 10u);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0xABCDu);
    m.poke<u64>(hlat, 0);  // low addresses have no translation now
    m.set("exception_bitmap"_f, 1u << 14);
    EXPECT_EQ(run(load_high), 0u);
    EXPECT_EQ(m.get("exit_interruption_error_code"_f) & 0x80, 0x80u);
    m.set("hlat_prefix_size"_f, 1);
    EXPECT_EQ(run(load_high), 10u);
}

TEST_F(Translation, PagingWritesAndVerification) {
    tertiary("ept_paging_write_control"_vmx);
    // The guest's page tables become read-only in EPT; with A/D flags every use of them is a write.
    const u64 tables = TestMachine::tables;
    ASSERT_EQ(tables >> 21, 0u);
    constexpr u64 low_table = 0x26'0000;
    for (u64 i = 0; i < 512; ++i) m.poke<u64>(low_table + 8 * i, (i << 12) | 0x37);
    m.poke<u64>(VmxMachine::ept_tables + 0x2000, low_table | 7);
    const auto protect = [&](u64 bits) {
        for (u64 t = tables; t < tables + 0x3000; t += 0x1000) m.poke<u64>(low_table + 8 * (t >> 12), t | bits);
    };
    protect(0x31);
    EXPECT_EQ(load(page), 48u);
    EXPECT_EQ(m.qualification(), 0x8Bu);
    protect(0x31 | 1ull << 58);
    EXPECT_EQ(load(page), 10u);
    EXPECT_EQ(store(tables), 48u) << "software must not write there";
    m.disable("ept_paging_write_control"_vmx);
    EXPECT_EQ(load(page), 48u);
    // Guest-paging verification
    m.enable("ept_paging_write_control"_vmx);
    m.enable("guest_paging_verification"_vmx);
    map(page | 0x37 | 1ull << 57);
    EXPECT_EQ(load(page), 10u);
    protect(0x33);
    EXPECT_EQ(load(page), 48u);
    EXPECT_EQ(m.qualification(), 0x87B9u);
    m.disable("guest_paging_verification"_vmx);
    EXPECT_EQ(load(page), 10u);
}

TEST_F(Translation, GuestPhysicalApicAccesses) {
    m.enable("use_tpr_shadow"_vmx);
    m.enable("virtualize_apic_accesses"_vmx);
    // The guest's top table lies, by EPT, on the APIC-access page.
    constexpr u64 low_table = 0x26'0000;
    for (u64 i = 0; i < 512; ++i) m.poke<u64>(low_table + 8 * i, (i << 12) | 0x37);
    m.poke<u64>(VmxMachine::ept_tables + 0x2000, low_table | 7);
    m.set("apic_access_address"_f, TestMachine::tables);
    EXPECT_EQ(load(page), 44u);
    EXPECT_EQ(m.qualification() & 0xF000, 0xF000u);
    m.set("entry_interruption_information"_f, 0x80000306);
    EXPECT_EQ(load(page), 44u);
    EXPECT_EQ(m.qualification() & 0xF000, 0xA000u);
    EXPECT_EQ(m.get("idt_vectoring_information"_f), 0x80000306u);
}

}  // namespace
}  // namespace droste::test
