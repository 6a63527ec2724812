// SPDX-License-Identifier: Apache-2.0
// VMX on one processor, messages from another: INIT and startup IPIs that exit, posted ones that do not.
#include <gtest/gtest.h>

#include "machine/machine.h"
#include "machine/processors_guest.h"
#include "machine/quiet_console.h"
#include "mmu/physical_memory.h"

namespace droste {
namespace {

using Code = ProcessorCode;

constexpr u32 flag = 0x7200, done = 0x7204, count = 0x7208, taken = 0x720C, reason = 0x7210,
              information = 0x7214;
constexpr u32 pointer_of_vmxon = 0x7300, pointer_of_vmcs = 0x7308;
constexpr u32 vmxon_region = 0x40'0000, vmcs = 0x40'1000, virtual_apic = 0x40'2000, descriptor = 0x40'3000,
              page_directory = 0x40'4000, guest_stack = 0x41'0000, host_stack = 0x42'0000;
constexpr u8 notification = 0xF2, posted = 0x55;
constexpr unsigned guest_code = 0, exit_code = 1, posted_handler = 2;

/// 32-bit VMX with paging, no EPT. The guest and its hypervisor share everything.
class Vmm : public Code {
public:
    Vmm& field(u32 encoding, u32 value) {
        mov_ecx(value);
        return field_from_ecx(encoding);
    }
    Vmm& field_from_ecx(u32 encoding) {
        mov_eax(encoding).bytes({0x0F, 0x79, 0xC1});
        return *this;
    }
    /// What must be 1 by the capability MSR, and `wanted`.
    Vmm& controls(u32 encoding, u32 msr, u32 wanted) {
        mov_ecx(msr).bytes({0x0F, 0x32, 0x0D}).imm32(wanted).bytes({0x89, 0xC1});
        return field_from_ecx(encoding);
    }
    Vmm& start() {
        // Identity mapping by 4-MByte pages.
        bytes({0xBF}).imm32(page_directory).mov_eax(0x83).mov_ecx(1024);
        bytes({0x89, 0x07, 0x05}).imm32(0x40'0000).bytes({0x83, 0xC7, 0x04, 0xE2, 0xF4});
        mov_eax(page_directory).bytes({0x0F, 0x22, 0xD8});
        bytes({0x0F, 0x20, 0xE0, 0x0D}).imm32(0x2010).bytes({0x0F, 0x22, 0xE0});       // CR4.VMXE, PSE
        bytes({0x0F, 0x20, 0xC0, 0x0D}).imm32(0x8000'0021).bytes({0x0F, 0x22, 0xC0});  // CR0.PG, NE, PE
        mov_ecx(0x480).bytes({0x0F, 0x32});
        store_eax(vmxon_region).store_eax(vmcs);
        put(pointer_of_vmxon, vmxon_region).put(pointer_of_vmcs, vmcs);
        bytes({0xF3, 0x0F, 0xC7, 0x35}).imm32(pointer_of_vmxon);
        bytes({0x66, 0x0F, 0xC7, 0x35}).imm32(pointer_of_vmcs);
        bytes({0x0F, 0xC7, 0x35}).imm32(pointer_of_vmcs);
        controls(0x4000, 0x481, 0).controls(0x4002, 0x482, 0);
        return controls(0x400C, 0x483, 0).controls(0x4012, 0x484, 0).states();
    }
    Vmm& posted_interrupts() {
        controls(0x4000, 0x481, 0x81);                       // external-interrupt exiting, posted interrupts
        controls(0x4002, 0x482, 1u << 31 | 1u << 21);        // secondary controls, TPR shadow
        field(0x401E, 1u << 9).controls(0x400C, 0x483, 1u << 15);  // delivery; acknowledge on exit
        return field(0x0002, notification).field(0x2016, descriptor).field(0x2012, virtual_apic);
    }
    Vmm& launch() {
        put(flag, 1).bytes({0x0F, 0x01, 0xC2});
        put(reason, 0xEEEE).put(done, 1).halt_for_ever();
        return *this;
    }

private:
    Vmm& states() {
        for (const u32 f : {0x6C00u, 0x6800u}) bytes({0x0F, 0x20, 0xC1}), field_from_ecx(f);  // CR0
        for (const u32 f : {0x6C04u, 0x6804u}) bytes({0x0F, 0x20, 0xE1}), field_from_ecx(f);  // CR4
        for (const u32 f : {0x6C0Cu, 0x6816u}) bytes({0x8B, 0x0D}).imm32(saved_gdtr + 2), field_from_ecx(f);
        field(0x6C02, page_directory).field(0x6802, page_directory);
        field(0x6C0E, idt).field(0x6818, idt).field(0x4810, 0xFF).field(0x4812, 0x7FF);
        for (const u32 segment : {0u, 2u, 4u, 6u, 8u, 10u}) {
            const bool code = segment == 2;
            field(0x0C00 + segment, code ? 0x10 : 0x18).field(0x0800 + segment, code ? 0x10 : 0x18);
            field(0x4800 + segment, 0xFFFF'FFFF).field(0x4814 + segment, code ? 0xC09B : 0xC093);
        }
        field(0x0C0C, 0x20).field(0x080E, 0x20).field(0x480E, 0x67).field(0x4822, 0x8B);
        field(0x4820, 0x1'0000);
        field(0x2800, 0xFFFF'FFFF).field(0x2801, 0xFFFF'FFFF).field(0x681A, 0x400).field(0x6820, 0x2);
        field(0x681C, guest_stack).field(0x681E, ProcessorsGuest::handler_address(guest_code));
        return field(0x6C14, host_stack).field(0x6C16, ProcessorsGuest::handler_address(exit_code));
    }
};

/// Tells the exit reason and the qualification; then counts for ever.
Code tells_its_exit() {
    Code c;
    c.mov_eax(0x4402).bytes({0x0F, 0x78, 0xC1, 0x89, 0x0D}).imm32(reason);
    c.mov_eax(0x6400).bytes({0x0F, 0x78, 0xC1, 0x89, 0x0D}).imm32(information);
    return c.put(done, 1).inc(count).add({0xEB, 0xF8});
}

struct Ran {
    QuietConsole console;
    std::unique_ptr<Machine> machine;
    Ran(const Code& first, const Code& second, const Code& guest) {
        Options options;
        for (const char* s : {"memory.size=32MiB", "machine.cpus=2", "run.max_ticks=20000000",
                              "cpu.model=skylake-sp", "vmx.feature_control=locked"})
            EXPECT_TRUE(options.set(s)) << s;
        auto made = Machine::create(options, console);
        if (!made) throw std::runtime_error(made.error().text);
        machine = std::move(*made);
        Code handler;
        handler.inc(taken).add({0xCF});
        BootRequest request;
        const ProcessorsGuest all(first, second, {guest, tells_its_exit(), handler});
        request.kernel = {"tiny", all.guest().image()};
        const Status loaded = machine->load(request);
        if (!loaded) throw std::runtime_error(loaded.error().text);
        machine->run();
        EXPECT_EQ(machine->summary().end.kind, EndKind::powered_off) << machine->summary().end.reason;
    }
    u32 at(u32 address) const { return machine->memory().read32(address); }
};

constexpr u32 wait_for_sipi = 3;

TEST(VmxProcessors, StartupIpiExitsWithItsVectorAndInitWaits) {
    Code first;
    first.wait_for(flag, 1).spin(5000);
    first.send(0x4500, 1).spin(5000).load_eax(done).store_eax(taken);  // INIT: blocked in this state
    first.send(0x469A, 1).wait_for(done, 1).power_off();
    Vmm second;
    second.start().field(0x4826, wait_for_sipi).launch();
    const Ran r(first, second, Code().jump_to_self());
    EXPECT_EQ(r.at(taken), 0u);
    EXPECT_EQ(r.at(reason), 4u);
    EXPECT_EQ(r.at(information), 0x9Au);
}

TEST(VmxProcessors, InitExitsAndIsBlockedInRootOperation) {
    Code first;
    first.wait_for(flag, 1).spin(5000).send(0x469A, 1).spin(5000).load_eax(done).store_eax(taken);
    first.send(0x4500, 1).wait_for(done, 1);
    first.send(0x4500, 1).spin(5000).load_eax(count).store_eax(guest_stack).spin(5000).power_off();
    Vmm second;
    second.start().launch();
    const Ran r(first, second, Code().jump_to_self());
    EXPECT_EQ(r.at(taken), 0u) << "a startup IPI to a running guest is lost";
    EXPECT_EQ(r.at(reason), 3u);
    EXPECT_EQ(r.at(information), 0u);
    EXPECT_GT(r.at(count), r.at(guest_stack)) << "it still counts";
}

/// A guest that waits for the posted interrupt, then calls its hypervisor.
void expect_posted(const Code& waiting) {
    Code first;
    first.wait_for(flag, 1).spin(5000);
    first.put(descriptor + posted / 32 * 4, 1u << posted % 32).put(descriptor + 0x20, 1);
    first.send(0x4000 | notification, 1).wait_for(done, 1).power_off();
    Vmm second;
    second.gate(posted, ProcessorsGuest::handler_address(posted_handler));
    second.start().posted_interrupts().field(0x6820, 0x202).launch();
    Code guest = waiting;
    guest.add({0x0F, 0x01, 0xC1});
    const Ran r(first, second, guest);
    EXPECT_EQ(r.at(taken), 1u);
    EXPECT_EQ(r.at(reason), 18u) << "no exit before its own VMCALL";
    EXPECT_EQ(r.at(descriptor + posted / 32 * 4), 0u);
    EXPECT_EQ(r.at(descriptor + 0x20), 0u) << "outstanding notification";
    EXPECT_EQ(r.at(virtual_apic + 0x100 + posted / 32 * 16), 1u << posted % 32) << "in service";
}

TEST(VmxProcessors, PostedInterruptReachesARunningGuest) { expect_posted(Code().wait_for(taken, 1)); }
TEST(VmxProcessors, PostedInterruptWakesAHaltedGuest) { expect_posted(Code().halt_until(taken, 1)); }

}  // namespace
}  // namespace droste
