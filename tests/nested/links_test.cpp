// SPDX-License-Identifier: Apache-2.0
// Direct exits of the design `links`: what level 1 finds after one equals what it finds after software has reflected
// the same exit; and nothing has changed when one cannot be carried out.
#include <gtest/gtest.h>

#include "routed_machine.h"

namespace droste::test {
namespace {

/// What a level 0 without routing does with an exit of level 2, with the rules of KVM: state and exit information from R_2
/// to S_2, the host-state area of S_2 to the guest of R_1.
class SoftwareReflection {
public:
    explicit SoftwareReflection(RoutedMachine& machine) : m(machine), v(m.v()), s(m.s()), c(m.c()) {}

    void run() {
        save_guest();
        for (u16 i = 0; i < vmcs_fields.size(); ++i)
            if (exists({i}) && vmcs_fields[i].area() == FieldArea::exit_information &&
                vmcs_fields[i].name != "vm_instruction_error")
                s.set({i}, v[{i}]);
        s.set("entry_interruption_information"_f, s["entry_interruption_information"_f] & 0x7FFF'FFFF);
        load_host();
    }

private:
    bool exists(Field f) const { return m.vmx.capabilities().field_exists(f); }
    bool s_has(Capability what) const { return controls_of(s).has(what); }

    void save_guest() {
        const u64 cr0 = view("cr0_guest_host_mask"_f, "guest_cr0"_f, "cr0_read_shadow"_f),
                  cr4 = view("cr4_guest_host_mask"_f, "guest_cr4"_f, "cr4_read_shadow"_f);
        for (u16 i = 0; i < vmcs_fields.size(); ++i) {
            const Field f{i};
            if (!exists(f) || f->area() != FieldArea::guest || !synchronised(f->name)) continue;
            s.set(f, v[f]);
        }
        s.set("guest_cr0"_f, cr0);
        s.set("guest_cr4"_f, cr4);
        constexpr u64 ia32e = 1u << 9;
        s.set("entry_controls"_f, (s["entry_controls"_f] & ~ia32e) | (v["entry_controls"_f] & ia32e));
    }
    u64 view(Field mask, Field real, Field shadow) const {
        const u64 l1 = s[mask], both = v[mask];
        return (v[real] & ~both) | (s[real] & l1) | (v[shadow] & both & ~l1);
    }
    bool synchronised(std::string_view name) const {
        if (name == "guest_dr7" || name == "guest_ia32_debugctl") return s_has("save_debug_controls"_vmx);
        if (name == "guest_ia32_pat") return s_has("save_ia32_pat"_vmx);
        if (name == "guest_ia32_efer") return s_has("save_ia32_efer"_vmx);
        if (name == "vmx_preemption_timer_value") return s_has("save_vmx_preemption_timer_value"_vmx);
        if (name.starts_with("guest_ia32_fred")) return s_has("save_ia32_fred"_vmx);
        if (name == "guest_interrupt_status") return s_has("virtual_interrupt_delivery"_vmx);
        for (const std::string_view kept : {"vmcs_link_pointer", "pml_index", "guest_smbase", "guest_pdpte0",
                                            "guest_pdpte1", "guest_pdpte2", "guest_pdpte3"})
            if (name == kept) return false;
        return true;
    }

    void load_host() {
        const auto copy = [&](Field to, Field from) { c.set(to, s[from]); };
        copy("guest_rip"_f, "host_rip"_f);
        copy("guest_rsp"_f, "host_rsp"_f);
        c.set("guest_rflags"_f, 2);
        copy("guest_cr3"_f, "host_cr3"_f);
        for (const bool cr4 : {false, true}) {
            const Field host = cr4 ? Field{"host_cr4"_f} : Field{"host_cr0"_f};
            const Field guest = cr4 ? Field{"guest_cr4"_f} : Field{"guest_cr0"_f};
            const u64 mask = c[cr4 ? Field{"cr4_guest_host_mask"_f} : Field{"cr0_guest_host_mask"_f}];
            c.set(guest, (s[host] & ~mask) | (c[guest] & mask));
            c.set(cr4 ? Field{"cr4_read_shadow"_f} : Field{"cr0_read_shadow"_f}, s[host]);
        }
        constexpr u32 unusable = 1u << 16;
        const auto segment = [&](unsigned i, u64 selector, u64 base, u64 limit, u64 access) {
            c.set("guest_es_selector"_f + i, selector);
            c.set("guest_es_base"_f + i, base);
            c.set("guest_es_limit"_f + i, limit);
            c.set("guest_es_access_rights"_f + i, access);
        };
        segment(1, s["host_cs_selector"_f], 0, 0xFFFFFFFF, 0xA09B);
        for (const unsigned i : {0u, 2u, 3u, 4u, 5u}) {
            const u64 selector = s["host_es_selector"_f + i];
            const u64 base = i == 4 ? s["host_fs_base"_f] : i == 5 ? s["host_gs_base"_f] : 0;
            segment(i, selector, base, selector == 0 ? 0 : 0xFFFFFFFF, selector == 0 ? unusable : 0xC093);
        }
        segment(6, 0, 0, 0, unusable);
        segment(7, s["host_tr_selector"_f], s["host_tr_base"_f], 0x67, 0x8B);
        copy("guest_gdtr_base"_f, "host_gdtr_base"_f);
        copy("guest_idtr_base"_f, "host_idtr_base"_f);
        c.set("guest_gdtr_limit"_f, 0xFFFF);
        c.set("guest_idtr_limit"_f, 0xFFFF);
        copy("guest_ia32_sysenter_cs"_f, "host_ia32_sysenter_cs"_f);
        copy("guest_ia32_sysenter_esp"_f, "host_ia32_sysenter_esp"_f);
        copy("guest_ia32_sysenter_eip"_f, "host_ia32_sysenter_eip"_f);
        // MSRs that the exit leaves alone stay those of level 2.
        c.set("guest_ia32_pat"_f, s_has("exit_load_ia32_pat"_vmx) ? s["host_ia32_pat"_f] : v["guest_ia32_pat"_f]);
        c.set("guest_ia32_efer"_f, s_has("exit_load_ia32_efer"_vmx) ? s["host_ia32_efer"_f] : v["guest_ia32_efer"_f] | 0x500);
        c.set("entry_controls"_f, c["entry_controls"_f] | "entry_load_ia32_pat"_vmx.mask() |
                                      "entry_load_ia32_efer"_vmx.mask() | "load_debug_controls"_vmx.mask());
        c.set("guest_dr7"_f, 0x400);
        c.set("guest_ia32_debugctl"_f, 0);
        c.set("guest_interruptibility_state"_f, 0);
        c.set("guest_activity_state"_f, 0);
        c.set("guest_pending_debug_exceptions"_f, 0);
    }

    RoutedMachine& m;
    const Vmcs v, s, c;
};

struct Case {
    std::string_view reason;
    std::vector<u8> code;
    std::function<void(RoutedMachine&)> prepare = [](RoutedMachine&) {};
    unsigned vector = 0;  ///< of reason 0
};

void exits_on(RoutedMachine& m, unsigned vector) { m.put_both("exception_bitmap"_f, 1u << vector); }

std::function<void(RoutedMachine&)> asks(Capability control) {
    return [=](RoutedMachine& m) { m.ask(control); };
}

const std::vector<Case>& cases() {
    static const std::vector<Case> list = {
        {"cpuid", {0x0F, 0xA2}},
        {"hlt", {0x90, 0xF4}, asks("hlt_exiting"_vmx)},
        {"invd", {0x0F, 0x08}},
        {"vmcall", {0x0F, 0x01, 0xC1}},
        {"rdmsr", {0x0F, 0x32}},
        {"wrmsr", {0x0F, 0x30}},
        {"rdtsc", {0x0F, 0x31}, asks("rdtsc_exiting"_vmx)},
        {"rdpmc", {0x0F, 0x33}, asks("rdpmc_exiting"_vmx)},
        {"invlpg", {0x0F, 0x01, 0x3B}, asks("invlpg_exiting"_vmx)},
        {"pause", {0xF3, 0x90}, asks("pause_exiting"_vmx)},
        {"wbinvd", {0x0F, 0x09}, asks("wbinvd_exiting"_vmx)},
        {"mov_dr", {0x0F, 0x23, 0xF8}, asks("mov_dr_exiting"_vmx)},
        {"xsetbv", {0x0F, 0x01, 0xD1}},
        {"vmresume", {0x0F, 0x01, 0xC3}},
        {"vmptrld", {0x0F, 0xC7, 0x33}},
        {"vmread", {0x0F, 0x78, 0xC8}},
        {"io_instruction", {0xE4, 0x71}, asks("unconditional_io_exiting"_vmx)},
        {"io_instruction", {0x6E}, asks("unconditional_io_exiting"_vmx)},
        {"gdtr_or_idtr_access", {0x0F, 0x01, 0x03}, asks("descriptor_table_exiting"_vmx)},
        {"control_register_access", {0x0F, 0x20, 0xD8}, asks("cr3_store_exiting"_vmx)},
        {"control_register_access", {0x0F, 0x06},
         [](RoutedMachine& m) {
             m.put_both("cr0_guest_host_mask"_f, cr0_bits::ts);
             m.put_both("cr0_read_shadow"_f, cr0_bits::ts);
         }},
        {"exception_or_nmi", {0x0F, 0x0B}, [](RoutedMachine& m) { exits_on(m, 6); }, 6},
        {"exception_or_nmi", {0xCC}, [](RoutedMachine& m) { exits_on(m, 3); }, 3},
        // mov ss, [rbx] with a selector beyond the table: #GP with an error code
        {"exception_or_nmi", {0x8E, 0x13}, [](RoutedMachine& m) { exits_on(m, 13); m.poke<u16>(0x4000, 0x7FF8); }, 13},
        // mov rax, [0x4000000]: beyond the mapped linear addresses
        {"exception_or_nmi", {0x48, 0x8B, 0x04, 0x25, 0, 0, 0, 0x04}, [](RoutedMachine& m) { exits_on(m, 14); }, 14},
        {"ept_violation", {0x48, 0x8B, 0x04, 0x25, 0, 0, 0, 0x02},
         [](RoutedMachine& m) {
             m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 16, 0);
             m.poke<u64>(RoutedMachine::ept_of_level_1 + 0x2000 + 8 * 16, 0);
         }},
        {"triple_fault", {0x0F, 0x0B}, [](RoutedMachine& m) { m.set("guest_idtr_limit"_f, 0); }},
        {"exception_or_nmi", {0xCF},  // IRET with NT set
         [](RoutedMachine& m) { exits_on(m, 13), m.set("guest_rflags"_f, 2 | 1u << 14); }, 13},
    };
    return list;
}

u16 number_of(std::string_view name) {
    for (const ExitRow& row : exit_rows)
        if (row.name == name) return row.number;
    return 0xFFFF;
}

/// Variations of what level 1 and level 0 keep back of level 2's control registers, and of what exits save and load.
void vary(RoutedMachine& m, unsigned variation) {
    m.cpu.reg(Gpr::rbx) = 0x4000;
    m.cpu.reg(Gpr::rcx) = 0xC000'0080;
    m.cpu.reg(Gpr::rsi) = 0x4000;
    const Vmcs s = m.s(), c = m.c();
    if (variation & 1) {
        m.enable("acknowledge_interrupt_on_exit"_vmx);
        for (const Capability on : {Capability("save_debug_controls"_vmx), Capability("save_ia32_pat"_vmx),
                                    Capability("save_ia32_efer"_vmx), Capability("exit_load_ia32_pat"_vmx),
                                    Capability("exit_load_ia32_efer"_vmx)})
            s.set("exit_controls"_f, s["exit_controls"_f] | on.mask());
    }
    if (variation & 2) {
        // Level 1 keeps WP, level 0 keeps TS too, and shows it set; of level 1 it keeps PGE.
        s.set("cr0_guest_host_mask"_f, cr0_bits::wp);
        s.set("guest_cr0"_f, s["guest_cr0"_f] & ~cr0_bits::wp);
        m.set("cr0_guest_host_mask"_f, m.get("cr0_guest_host_mask"_f) | cr0_bits::wp | cr0_bits::ts);
        m.set("cr0_read_shadow"_f, cr0_bits::ts | cr0_bits::wp);
        m.set("cr4_guest_host_mask"_f, cr4_bits::vmxe | cr4_bits::pge);
        s.set("cr4_guest_host_mask"_f, cr4_bits::vmxe);
        c.set("cr4_guest_host_mask"_f, cr4_bits::vmxe | cr4_bits::pge);
        c.set("guest_cr4"_f, c["guest_cr4"_f] | cr4_bits::pge);
        s.set("host_cr4"_f, s["host_cr4"_f] & ~cr4_bits::pge);
        c.set("cr0_guest_host_mask"_f, cr0_bits::mp);
    }
}

struct After {
    std::vector<u64> s;
    std::vector<u64> cpu;
};

/// Level 1 after the exit of a case, by hardware or by software.
After after(const Case& test, unsigned variation, bool routed) {
    RoutedMachine m(config_of("links"));
    m.build();
    m.set("routing_exception_bitmap"_f, 1u << test.vector);
    if (routed) m.route_reason(number_of(test.reason));
    test.prepare(m);
    vary(m, variation);
    m.write(VmxMachine::guest_code, test.code);
    m.set("guest_rip"_f, VmxMachine::guest_code);
    m.enter();
    EXPECT_TRUE(m.cpu.non_root);
    m.run_for(3);
    if (!routed) {
        EXPECT_FALSE(m.cpu.non_root);
        EXPECT_EQ(m.v()["exit_reason"_f] & 0xFFFF, number_of(test.reason));
        SoftwareReflection(m).run();
        m.cpu.activity = Activity::active;
        EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r1), Outcome::next);
        m.vmx.written("guest_rip"_f), m.vmx.written("entry_controls"_f);
        EXPECT_TRUE(m.enter());
        m.run_for(2);
    }
    EXPECT_TRUE(m.cpu.non_root);
    EXPECT_EQ(m.vmx.current().address(), RoutedMachine::r1);
    EXPECT_EQ(m.cpu.rip, RoutedMachine::level1_entry + 1);
    EXPECT_EQ(m.cpu.activity, Activity::hlt) << "level 1 runs its handler";

    After a;
    const Vmcs s = m.s(), c = m.c();
    for (u16 i = 0; i < vmcs_fields.size(); ++i) a.s.push_back(s[{i}]);
    for (const Field f : {Field{"cr0_read_shadow"_f}, Field{"cr4_read_shadow"_f}}) a.s.push_back(c[f]);
    const Cpu& x = m.cpu;
    a.cpu.assign(x.gpr.begin(), x.gpr.begin() + 16);
    for (const u64 value : {x.rip, x.read_rflags(), x.cr0, x.cr3, x.cr4, x.dr7, x.efer, x.pat, x.debugctl, x.gdtr.base,
                            u64{x.gdtr.limit}, x.idtr.base, u64{x.idtr.limit}, x.sysenter_esp, x.sysenter_eip,
                            u64{x.interruptibility}, x.pending_debug, x.current_eptp, u64{x.current_vpid},
                            u64{x.gates.closed_mask}, u64{x.cpl}, x.tsc_offset, x.cr0_fixed0, x.cr4_fixed0})
        a.cpu.push_back(value);
    for (const Segment& g : x.seg) {
        a.cpu.push_back(g.selector);
        a.cpu.push_back(g.base);
        a.cpu.push_back(g.limit);
        a.cpu.push_back(g.access);
    }
    return a;
}

TEST(Links, Level1FindsWhatSoftwareWouldHaveLeft) {
    for (const Case& test : cases())
        for (unsigned variation = 0; variation < 4; ++variation) {
            SCOPED_TRACE(::testing::Message() << test.reason << " " << test.vector << " variation " << variation);
            const After direct = after(test, variation, true), software = after(test, variation, false);
            for (std::size_t i = 0; i < direct.s.size(); ++i)
                EXPECT_EQ(direct.s[i], software.s[i]) << (i < vmcs_fields.size() ? vmcs_fields[i].name : "read shadow");
            EXPECT_EQ(direct.cpu, software.cpu);
        }
}

/// The bits decide, and nothing of it is seen by level 0 when they do.
TEST(Links, TheBitsDecide) {
    struct Row {
        bool link, reason_bit, exception, exception_bit;
        unsigned level;
    };
    for (unsigned bits = 0; bits < 16; ++bits) {
        const Row r{(bits & 8) != 0, (bits & 4) != 0, (bits & 2) != 0, (bits & 1) != 0, 0};
        SCOPED_TRACE(bits);
        RoutedMachine m(config_of("links"));
        m.build();
        m.put_both("exception_bitmap"_f, 1u << 6);
        if (!r.link) m.set("control_link"_f, ~0ull);
        if (r.reason_bit) m.route_reason(r.exception ? 0 : 10);
        m.set("routing_exception_bitmap"_f, r.exception_bit ? 1u << 6 : ~(1u << 6));
        const unsigned level = r.exception ? m.run_level2({0x0F, 0x0B}) : m.run_level2({0x0F, 0xA2});
        EXPECT_EQ(level, r.link && r.reason_bit && (!r.exception || r.exception_bit) ? 1u : 0u);
        EXPECT_EQ(m.unit.accounts().routes().size(), 1u);
        const RouteKey& key = m.unit.accounts().routes().begin()->first;
        EXPECT_EQ(key.destination, level);
        EXPECT_EQ(key.level, 2u);
        EXPECT_EQ(key.reason, r.exception ? 0 : 10);
    }
}

/// Everything of a machine that a failed exit could have touched.
std::vector<u64> all_state(RoutedMachine& m) {
    std::vector<u64> out;
    for (const u64 region : {RoutedMachine::s2, RoutedMachine::r1, RoutedMachine::r2, VmxMachine::msr_list})
        for (u64 at = 0; at < 4096; at += 8) out.push_back(m.memory.read64(region + at));
    const Cpu& x = m.cpu;
    out.insert(out.end(), x.gpr.begin(), x.gpr.begin() + 16);
    for (const u64 value : {x.rip, x.read_rflags(), x.cr0, x.cr3, x.cr4, x.dr7, x.efer, x.pat, x.star, x.lstar,
                            x.kernel_gs_base, x.tsc_offset, u64{x.interruptibility}, x.current_eptp})
        out.push_back(value);
    return out;
}

struct Defect {
    RouteFallback cause;
    std::function<void(RoutedMachine&)> make;
};

const std::vector<Defect>& defects() {
    static const auto list_of = [](u64 count_field_is_store, u32 index, u64 data) {
        return [=](RoutedMachine& m) {
            for (const u64 table : {VmxMachine::ept_tables, VmxMachine::ept_tables + 0x1000})
                m.poke<u64>(table, m.peek<u64>(table) | 0x100);
            const u64 leaf = VmxMachine::ept_tables + 0x2000 + 8 * (VmxMachine::msr_list >> 21);
            m.poke<u64>(leaf, m.peek<u64>(leaf) | 0x300);
            m.poke<u64>(VmxMachine::msr_list, index);
            m.poke<u64>(VmxMachine::msr_list + 8, data);
            const Vmcs s = m.s();
            s.set(count_field_is_store ? Field{"exit_msr_store_address"_f} : Field{"exit_msr_load_address"_f}, VmxMachine::msr_list);
            s.set(count_field_is_store ? Field{"exit_msr_store_count"_f} : Field{"exit_msr_load_count"_f}, 1);
        };
    };
    static const std::vector<Defect> list = {
        {RouteFallback::state_controls, [](RoutedMachine& m) { m.s().set("exit_controls"_f, 1ull << 9); }},
        {RouteFallback::host_mode,
         [](RoutedMachine& m) { m.s().set("exit_controls"_f, m.s()["exit_controls"_f] & ~(1ull << 9)); }},
        {RouteFallback::host_state, [](RoutedMachine& m) { m.s().set("host_rip"_f, 1ull << 60); }},
        {RouteFallback::host_state, [](RoutedMachine& m) { m.s().set("host_cs_selector"_f, 0); }},
        {RouteFallback::host_state, [](RoutedMachine& m) { m.s().set("host_cr4"_f, 0); }},
        {RouteFallback::host_state, [](RoutedMachine& m) { m.s().set("host_cr0"_f, 0); }},
        {RouteFallback::control_registers,
         [](RoutedMachine& m) {
             m.c().set("cr0_guest_host_mask"_f, cr0_bits::wp);
             m.c().set("guest_cr0"_f, m.c()["guest_cr0"_f] & ~cr0_bits::wp);
         }},
        {RouteFallback::control_registers,
         [](RoutedMachine& m) {
             m.c().set("cr4_guest_host_mask"_f, cr4_bits::pae);
             m.c().set("guest_cr4"_f, m.c()["guest_cr4"_f] & ~cr4_bits::pae);
         }},
        {RouteFallback::control_fields,
         [](RoutedMachine& m) {
             EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r1), Outcome::next);
             m.set("eptp"_f, 0x38);
             EXPECT_EQ(m.vmx.vmptrld(RoutedMachine::r2), Outcome::next);
         }},
        {RouteFallback::area_translation,
         [](RoutedMachine& m) {
             list_of(0, 0xC000'0082, 5)(m);
             m.s().set("exit_msr_load_address"_f, 0x2000'0000'0000);
         }},
        {RouteFallback::area_translation,
         [](RoutedMachine& m) {
             list_of(0, 0xC000'0082, 5)(m);
             m.s().set("exit_msr_load_count"_f, 513);
         }},
        {RouteFallback::area_contents, list_of(1, 0x1234'5678, 0)},
        {RouteFallback::area_contents, list_of(0, 0x1234'5678, 0)},
        {RouteFallback::area_contents, list_of(0, 0xC000'0080, ~0ull)},
        {RouteFallback::area_contents, list_of(0, 0x10, 1)},
        {RouteFallback::area_contents,
         [](RoutedMachine& m) {
             list_of(0, 0xC000'0082, 0x7777)(m);  // this one could be loaded
             m.poke<u64>(VmxMachine::msr_list + 16, 0x1234'5678);
             m.s().set("exit_msr_load_count"_f, 2);
         }},
    };
    return list;
}

/// The exit goes to level 0 as if there were no routing: level 0 finds level 2's state, and nothing else has changed.
TEST(Links, ADirectExitThatCannotBeIsAnExitToLevel0) {
    for (const Defect& defect : defects()) {
        SCOPED_TRACE(::testing::Message() << name_of(defect.cause) << " " << &defect - defects().data());
        std::vector<u64> state[2];
        for (const bool routed : {false, true}) {
            RoutedMachine m(config_of("links"));
            m.build();
            m.set("routing_controls"_f, 0);
            m.cpu.lstar = 0x1'2345;
            defect.make(m);
            if (routed) m.route_reason(10);
            EXPECT_EQ(m.run_level2({0x0F, 0xA2}), 0u);
            EXPECT_EQ(m.v()["exit_reason"_f], 10u);
            EXPECT_EQ(m.unit.accounts().fallbacks(defect.cause), routed ? 1u : 0u);
            m.v().set("reason_bitmap_0"_f, 0);
            state[routed] = all_state(m);
        }
        EXPECT_EQ(state[0], state[1]);
    }
}

TEST(Links, MsrAreasOfLevel1AreThroughItsEpt) {
    RoutedMachine m(config_of("links"));
    m.build();
    m.route_reason(10);
    // Level 1's EPT by level 0 moves 28 MBytes to 30 MBytes: the areas lie there.
    m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 14, (15ull << 21) | 0x3B7);
    m.poke<u64>(VmxMachine::ept_tables, m.peek<u64>(VmxMachine::ept_tables) | 0x100);
    m.poke<u64>(VmxMachine::ept_tables + 0x1000, m.peek<u64>(VmxMachine::ept_tables + 0x1000) | 0x100);
    constexpr u64 area = 14ull << 21, machine = 15ull << 21;
    m.poke<u64>(machine, 0xC000'0082);           // stored: IA32_LSTAR
    m.poke<u64>(machine + 16, 0xC000'0082);      // loaded
    m.poke<u64>(machine + 24, 0x5555);
    m.s().set("exit_msr_store_address"_f, area);
    m.s().set("exit_msr_store_count"_f, 1);
    m.s().set("exit_msr_load_address"_f, area + 16);
    m.s().set("exit_msr_load_count"_f, 1);
    m.cpu.lstar = 0x4321;
    EXPECT_EQ(m.run_level2({0x0F, 0xA2}), 1u);
    EXPECT_EQ(m.peek<u64>(machine + 8), 0x4321u);
    EXPECT_EQ(m.cpu.lstar, 0x5555u);
    EXPECT_EQ(m.peek<u64>(area + 8), 0u);
}

/// A flag that the store would have to set first is level 0's to set.
TEST(Links, MsrAreasNeedTheFlagsOfTheirPages) {
    for (const u64 flags : {0x000ull, 0x100ull, 0x200ull, 0x300ull}) {
        RoutedMachine m(config_of("links"));
        m.build();
        m.route_reason(10);
        for (const u64 table : {VmxMachine::ept_tables, VmxMachine::ept_tables + 0x1000})
            m.poke<u64>(table, m.peek<u64>(table) | 0x100);
        m.poke<u64>(VmxMachine::ept_tables + 0x2000 + 8 * 14, (14ull << 21) | 0xB7 | flags);
        m.poke<u64>(14ull << 21, 0xC000'0082);
        m.s().set("exit_msr_store_address"_f, 14ull << 21);
        m.s().set("exit_msr_store_count"_f, 1);
        EXPECT_EQ(m.run_level2({0x0F, 0xA2}), flags == 0x300 ? 1u : 0u) << flags;
        EXPECT_EQ(m.unit.accounts().fallbacks(RouteFallback::area_translation), flags == 0x300 ? 0u : 1u);
    }
}

TEST(Links, AVmcsThatWasClearedIsNoDestination) {
    RoutedMachine m(config_of("links"));
    m.build();
    m.route_reason(10);
    m.write(VmxMachine::guest_code, {0x0F, 0xA2});
    m.set("guest_rip"_f, VmxMachine::guest_code);
    EXPECT_TRUE(m.enter());
    m.c().set_launch_state(LaunchState::clear);  // as VMCLEAR on another processor does
    m.run_for(5);
    EXPECT_FALSE(m.cpu.non_root);
    EXPECT_EQ(m.unit.accounts().routes().begin()->first.why, "no valid link");
}

TEST(Links, NamesOfFallbacks) {
    constexpr std::string_view names[] = {"none",       "no_link",           "state_controls",   "host_state",    "host_mode", "control_fields",
                                          "control_registers", "area_translation", "area_contents", "too_deep", "view"};
    ASSERT_EQ(std::size(names), static_cast<std::size_t>(RouteFallback::count));
    for (std::size_t i = 0; i < std::size(names); ++i) EXPECT_EQ(name_of(static_cast<RouteFallback>(i)), names[i]);
    EXPECT_EQ(name_of(RouteFallback::host_state), "host_state");
    EXPECT_EQ(name_of(RouteFallback::area_contents), "area_contents");
    EXPECT_EQ(name_of(RouteFallback::view), "view");
}

TEST(Links, CapabilityMsr) {
    RoutingConfig c = config_of("links");
    EXPECT_EQ(c.capability(), 2u | 8u << 8);
    c.max_levels = 16;
    c.direct_entry = true;
    EXPECT_EQ(c.capability(), 2u | 16u << 8 | 1u << 16);
    EXPECT_EQ(config_of("layered").capability(), 3u | 8u << 8);
    EXPECT_EQ(config_of("deferred").capability(), 4u | 8u << 8);
    EXPECT_EQ(config_of("parent-context").capability(), 5u | 8u << 8);
    EXPECT_EQ(config_of("sdm").capability(), 0u);
    EXPECT_EQ(config_of("account").capability(), 0u);
    VmxMachine m;
    EXPECT_FALSE(m.msr_table.read(m.cpu, 0x40000F00)) << "no design, no MSR";
    RoutedMachine n(c);
    EXPECT_EQ(n.msr_table.read(n.cpu, 0x40000F00), 2u | 16u << 8 | 1u << 16);
    EXPECT_FALSE(n.msr_table.write(n.cpu, 0x40000F00, 0));
}

}  // namespace
}  // namespace droste::test
