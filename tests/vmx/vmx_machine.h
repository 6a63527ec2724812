// SPDX-License-Identifier: Apache-2.0
// VmxMachine: a TestMachine in VMX operation with a VMCS that passes every check of VM entry.
//
//   VmxMachine m;
//   m.set("primary_processor_based_controls"_f, m.get(...) | "hlt_exiting"_vmx.mask());
//   EXPECT_EQ(m.run_guest({0xF4}), "hlt"_exit->number);      // hlt; returns the basic exit reason
#pragma once
#include <initializer_list>

#include "../cpu/test_machine.h"
#include "cpu/msr.h"
#include "vmx/entry_checks.h"
#include "vmx/vmx.h"

namespace droste::test {

inline CpuModel vmx_model() {
    CpuModel m = all_features_model();
    m.name = "max";  // every capability that is implemented
    m.valid_cr4 = 0x7767FF | cr4_bits::cet | cr4_bits::uintr | cr4_bits::fred;
    return m;
}

class VmxMachine : public TestMachine {
public:
    static constexpr u64 vmxon_region = 0x20'0000, vmcs_a = 0x20'1000, vmcs_b = 0x20'2000,
                         shadow_vmcs = 0x20'3000;
    static constexpr u64 io_bitmap_a = 0x20'4000, io_bitmap_b = 0x20'5000, msr_bitmap = 0x20'6000;
    static constexpr u64 vmread_bitmap = 0x20'7000, vmwrite_bitmap = 0x20'8000;
    static constexpr u64 virtual_apic = 0x20'9000, apic_page = 0x20'A000, posted_descriptor = 0x20'B000;
    static constexpr u64 pml_log = 0x20'C000, eptp_list = 0x20'D000, msr_list = 0x20'E000,
                         pid_table = 0x20'F000;
    static constexpr u64 ept_tables = 0x21'0000;
    static constexpr u64 guest_code = 0x3000, host_entry = 0x3800, guest_stack = 0x6FF0;

    /// `routing`: MSR routing_capability.
    explicit VmxMachine(const std::vector<std::string>& changes = {}, u64 routing = 0)
        : TestMachine(Mode::long64, 0, vmx_model(), {vmx_instruction_rows()}),
          msr_table({cpu_msr_rows(), Vmx::msr_rows()}),
          vmx(cpu, capabilities(model, changes, routing)) {
        cpu.msrs = &msr_table;
        cpu.feature_control = 5;
        cpu.cr4 |= cr4_bits::vmxe;
        // TR as an operating system has it: VM entry wants a busy TSS.
        cpu.segment(Seg::tr) = Segment{.selector = 0x28, .limit = 0x67, .access = 0x8B, .base = 0xB000};
        cpu.segment(Seg::ldtr) =
            Segment{.selector = 0, .limit = 0, .access = Segment::unusable_bit, .base = 0};
        install_exception_stops();
        cpu.context_changed();
        for (const u64 region : {vmxon_region, vmcs_a, vmcs_b})
            poke<u32>(region, vmx.capabilities().revision);
        poke<u32>(shadow_vmcs, vmx.capabilities().revision | 0x80000000);
        make_ept();
        for (unsigned i = 0; i < 4096; ++i) {
            poke<u8>(vmread_bitmap + i, 0xFF);
            poke<u8>(vmwrite_bitmap + i, 0xFF);
        }
    }

    /// VMXON, VMCLEAR, VMPTRLD and a valid VMCS at `address`.
    void start(u64 address = vmcs_a) {
        if (!vmx.in_operation()) ASSERT(vmx.vmxon(vmxon_region) == Outcome::next);
        ASSERT(vmx.vmclear(address) == Outcome::next && vmx.vmptrld(address) == Outcome::next);
        fill();
    }

    u64 get(Field f) const { return vmx.current()[f]; }
    void set(Field f, u64 value) {
        vmx.current().set(f, value);
        vmx.written(f);
    }
    void add(Field f, u64 bits) { set(f, get(f) | bits); }
    void drop(Field f, u64 bits) { set(f, get(f) & ~bits); }
    static Field word_field(Capability c) {
        switch (c.word) {
        case VmxWord::pin: return "pin_based_controls"_f;
        case VmxWord::primary: return "primary_processor_based_controls"_f;
        case VmxWord::secondary: return "secondary_processor_based_controls"_f;
        case VmxWord::tertiary: return "tertiary_processor_based_controls"_f;
        case VmxWord::exit: return "exit_controls"_f;
        case VmxWord::secondary_exit: return "secondary_exit_controls"_f;
        default: return "entry_controls"_f;
        }
    }
    /// Sets the control, and the one that brings its word into force.
    void enable(Capability c) {
        add(word_field(c), c.mask());
        if (c.word == VmxWord::tertiary) enable("activate_tertiary_controls"_vmx);
        if (c.word == VmxWord::secondary_exit) enable("activate_secondary_exit_controls"_vmx);
    }
    void disable(Capability c) { drop(word_field(c), c.mask()); }
    void enable_ept() {
        enable("enable_ept"_vmx);
        set("eptp"_f, ept_tables | 0x5E);  // write-back, 4 levels, A/D flags
    }

    /// Executes VMLAUNCH or VMRESUME; the guest does not run yet. True: in non-root operation.
    bool enter() {
        cpu.rip = code;
        const bool launch = vmx.current().launch_state() == LaunchState::clear;
        const Outcome outcome = launch ? execute({0x0F, 0x01, 0xC2}) : execute({0x0F, 0x01, 0xC3});
        last_entry_outcome = outcome;
        return cpu.non_root;
    }
    /// Enters with `bytes` at guest_code and runs until the host is back (or `ticks` passed: returns 0xFFFF).
    u32 run_guest(std::initializer_list<u8> bytes, u64 ticks = 1000) {
        write(guest_code, bytes);
        poke<u8>(guest_code + bytes.size(), 0xF4);
        set("guest_rip"_f, guest_code);
        set("guest_activity_state"_f, 0);
        set("guest_interruptibility_state"_f, 0);
        return resume(ticks);
    }
    u32 resume(u64 ticks = 1000) {
        if (!enter()) return static_cast<u32>(get("exit_reason"_f));
        run_for(ticks);
        return cpu.non_root ? 0xFFFF : static_cast<u32>(get("exit_reason"_f));
    }
    /// Brings a guest that is still running back to the host.
    void exit_by_cpuid() {
        ASSERT(cpu.non_root);
        write(guest_code, {0x0F, 0xA2});
        cpu.rip = guest_code;
        cpu.rflags &= ~rflags_bits::if_;
        cpu.activity = Activity::active;
        run_for(10);
        ASSERT(!cpu.non_root);
        set("guest_rflags"_f, 2);
        set("guest_interrupt_status"_f, 0);
        set("guest_rsp"_f, guest_stack);
    }
    u64 reason() const { return get("exit_reason"_f); }
    u64 qualification() const { return get("exit_qualification"_f); }
    VmxError error() const { return static_cast<VmxError>(get("vm_instruction_error"_f)); }
    bool cf() const { return cpu.read_rflags() & rflags_bits::cf; }
    bool zf() const { return cpu.read_rflags() & rflags_bits::zf; }

    MsrTable msr_table;
    Vmx vmx;
    Outcome last_entry_outcome{};

private:
    static VmxCapabilities capabilities(const CpuModel& model, const std::vector<std::string>& changes, u64 routing) {
        VmxCapabilities c = make_vmx_capabilities(model, changes).value();
        c.routing = routing;
        return c;
    }
    void make_ept() {
        poke<u64>(ept_tables, (ept_tables + 0x1000) | 7);
        poke<u64>(ept_tables + 0x1000, (ept_tables + 0x2000) | 7);
        for (u64 i = 0; i < 512; ++i)
            poke<u64>(ept_tables + 0x2000 + 8 * i, (i << 21) | 0xB7);  // 2 MBytes, write-back
    }

    void fill() {
        for (u16 i = 0; i < vmcs_fields.size(); ++i) vmx.current().set({i}, 0);
        const auto must = [&](VmxWord w) { return u64{vmx.capabilities().must_be_one(w)}; };
        set("pin_based_controls"_f, must(VmxWord::pin));
        set("primary_processor_based_controls"_f,
            must(VmxWord::primary) | (vmx.capabilities().has("activate_secondary_controls"_vmx)
                                          ? "activate_secondary_controls"_vmx.mask()
                                          : 0));
        set("exit_controls"_f, must(VmxWord::exit) | "host_address_space_size"_vmx.mask());
        set("entry_controls"_f, must(VmxWord::entry) | "ia32e_mode_guest"_vmx.mask());
        set("vmcs_link_pointer"_f, ~0ull);
        set("io_bitmap_a_address"_f, io_bitmap_a);
        set("io_bitmap_b_address"_f, io_bitmap_b);
        set("msr_bitmap_address"_f, msr_bitmap);
        set("vmread_bitmap_address"_f, vmread_bitmap);
        set("vmwrite_bitmap_address"_f, vmwrite_bitmap);
        set("virtual_apic_address"_f, virtual_apic);
        set("apic_access_address"_f, apic_page);
        set("posted_interrupt_descriptor_address"_f, posted_descriptor);
        set("posted_interrupt_notification_vector"_f, 0xF2);
        set("pml_address"_f, pml_log);
        set("pml_index"_f, 511);
        set("eptp_list_address"_f, eptp_list);
        set("tsc_multiplier"_f, 1ull << 48);
        set("virtual_processor_identifier"_f, 1);

        for (const bool host : {true, false}) {
            set(host ? "host_cr0"_f : "guest_cr0"_f, cpu.cr0);
            set(host ? "host_cr3"_f : "guest_cr3"_f, cpu.cr3);
            set(host ? "host_cr4"_f : "guest_cr4"_f, cpu.cr4);
            set(host ? "host_ia32_pat"_f : "guest_ia32_pat"_f, cpu.pat);
            set(host ? "host_ia32_efer"_f : "guest_ia32_efer"_f, cpu.efer);
        }
        const u64 host_selectors[] = {0x10, 0x08, 0x10, 0x10, 0x10, 0x10, 0x28};
        for (unsigned i = 0; i < 7; ++i) set("host_es_selector"_f + i, host_selectors[i]);
        set("host_tr_base"_f, 0xB000);
        set("host_gdtr_base"_f, gdt);
        set("host_idtr_base"_f, idt);
        set("host_rsp"_f, stack_top);
        set("host_rip"_f, host_entry);
        poke<u8>(host_entry, 0xF4);

        for (unsigned i = 0; i < 8; ++i) {
            const Segment& s = cpu.seg[i];
            set("guest_es_selector"_f + i, s.selector);
            set("guest_es_limit"_f + i, s.limit);
            set("guest_es_access_rights"_f + i, s.access);
            set("guest_es_base"_f + i, s.base);
        }
        set("guest_gdtr_base"_f, cpu.gdtr.base);
        set("guest_gdtr_limit"_f, cpu.gdtr.limit);
        set("guest_idtr_base"_f, cpu.idtr.base);
        set("guest_idtr_limit"_f, cpu.idtr.limit);
        set("guest_dr7"_f, 0x400);
        set("guest_rflags"_f, 2);
        set("guest_rsp"_f, guest_stack);
        set("guest_rip"_f, guest_code);
    }
};

}  // namespace droste::test
