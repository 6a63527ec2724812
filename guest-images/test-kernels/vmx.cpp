// SPDX-License-Identifier: Apache-2.0
// vmx: VMX on, an entry with its exits, and entries that fail, one of each class. The argument names one part.
#include "vmx.h"

namespace kernel {

namespace {

using namespace vmx;

Page vmcs_a, msr_list;

void guest_code()
{
    u32 a = 0, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    for (;;) asm volatile("vmcall");
}

void entry_and_exit()
{
    prepare(vmcs_a, guest_code);
    check(launch() == Result::succeeded, "VMLAUNCH enters");
    check_equal(read(field::exit_reason), reason_cpuid, "CPUID exits");
    write(field::guest_rip, read(field::guest_rip) + read(field::exit_instruction_length));
    check(resume() == Result::succeeded, "VMRESUME enters");
    check_equal(read(field::exit_reason), reason_vmcall, "VMCALL exits");
}

void expect_fail_valid(Result r, u64 error, const char* what)
{
    check(r == Result::fail_valid, what);
    check_equal(read(field::instruction_error), error, "the VM-instruction error");
}

void invalid_controls()
{
    prepare(vmcs_a, guest_code);
    write(field::cr3_target_count, 200);
    expect_fail_valid(launch(), 7, "CR3-target count of 200");
    prepare(vmcs_a, guest_code);
    write(field::pin_controls, read(field::pin_controls) | 1u << 5);
    expect_fail_valid(launch(), 7, "virtual NMIs without NMI exiting");
}

void invalid_host_state()
{
    prepare(vmcs_a, guest_code);
    write(field::host_cs_selector, 0x0b);
    expect_fail_valid(launch(), 8, "host CS with RPL 3");
}

void expect_failed_entry(u32 reason, u64 qualification, const char* what)
{
    check(launch() == Result::succeeded, what);
    check_equal(read(field::exit_reason), entry_failure | reason, "the exit reason of a failed entry");
    check_equal(read(field::exit_qualification), qualification, "the exit qualification of a failed entry");
}

void invalid_guest_state()
{
    prepare(vmcs_a, guest_code);
    write(field::guest_rflags, 0);
    expect_failed_entry(reason_invalid_guest_state, 0, "guest RFLAGS without bit 1");
    prepare(vmcs_a, guest_code);
    write(field::guest_activity, 7);
    expect_failed_entry(reason_invalid_guest_state, 0, "guest activity state 7");
    prepare(vmcs_a, guest_code);
    write(field::guest_cs_access, 0xa093);
    expect_failed_entry(reason_invalid_guest_state, 0, "guest CS that is a data segment");
    prepare(vmcs_a, guest_code);
    write(field::link_pointer, 0x123);
    expect_failed_entry(reason_invalid_guest_state, 4, "VMCS link pointer that is not aligned");
}

// An MSR that VM entry may not load.
void make_bad_list() { msr_list.words[0] = 0xc0000100; }

void msr_loading()
{
    prepare(vmcs_a, guest_code);
    make_bad_list();
    write(field::entry_msr_load_address, msr_list.address());
    write(field::entry_msr_load_count, 1);
    expect_failed_entry(reason_msr_loading, 1, "IA32_FS_BASE in the VM-entry MSR-load area");
}

void instruction_errors()
{
    Page& region = vmxon_region();
    prepare(vmcs_a, guest_code);
    expect_fail_valid(resume(), 5, "VMRESUME of a VMCS that was not launched");
    expect_fail_valid(load(region), 10, "VMPTRLD of the VMXON region");
    expect_fail_valid(clear(region), 3, "VMCLEAR of the VMXON region");
    expect_fail_valid(write(0x6fff & ~1u, 0), 12, "VMWRITE to a field that is not there");
    clear(vmcs_a);
    check(launch() == Result::fail_invalid, "VMLAUNCH without a current VMCS");
}

void guest_without_idt()
{
    asm volatile("ud2");
}

// No handler for its exceptions: the third one is the hypervisor's.
void guest_triple_fault()
{
    prepare(vmcs_a, guest_without_idt);
    write(field::guest_idtr_limit, 0);
    check(launch() == Result::succeeded, "VMLAUNCH of a guest without an IDT");
    check_equal(read(field::exit_reason), reason_triple_fault, "its triple fault exits");
}

// The exit's MSR-load area is checked when it is too late: the processor shuts down.
void abort_at_exit()
{
    prepare(vmcs_a, guest_code);
    make_bad_list();
    write(field::exit_msr_load_address, msr_list.address());
    write(field::exit_msr_load_count, 1);
    launch();
    check(false, "a VMX abort");
}

struct Part {
    const char* name;
    void (*run)();
    bool ends; // runs only when it is asked for
};
constexpr Part parts[] = {{"entry", entry_and_exit, false}, {"controls", invalid_controls, false},
                          {"host", invalid_host_state, false}, {"guest", invalid_guest_state, false},
                          {"msr", msr_loading, false}, {"errors", instruction_errors, false}, {"triple", guest_triple_fault, false},
                          {"abort", abort_at_exit, true}};

} // namespace

void main()
{
    if (!available()) skip("this processor has no VMX");
    on();
    for (const Part& part : parts)
        if (argument_is(part.name) || (!*arguments() && !part.ends)) part.run();
    clear(vmcs_a);
    off();
}

} // namespace kernel
