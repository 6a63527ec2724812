// SPDX-License-Identifier: Apache-2.0
// ExitEvent: a recognised VM exit as data. ExitRouter and VmxObserver: how nested/ directs and watches VMX.
#pragma once
#include <optional>
#include <span>
#include <string_view>

#include "base/types.h"
#include "cpu/insn.h"
#include "vmx/exit_reasons.h"
#include "vmx/vmcs_fields.h"

namespace droste {

class Vmcs;
class Vmx;
struct EntryCheck;
struct EntryContext;
enum class VmxError : u32;
enum class VmxAbort : u32;

/// A VM exit between its recognition and its transfer of control.
struct ExitEvent {
    static constexpr u8 to_parent = 0xFF;  ///< the hypervisor that keeps the current VMCS
    const ExitRow* row = nullptr;
    u64 qualification = 0;
    const Insn* insn = nullptr;          ///< the instruction of an `instruction` exit
    u32 instruction_length = 0;          ///< 0: not recorded by this exit
    u32 instruction_information = 0;
    u32 interruption_information = 0;    ///< bit 31: valid
    u32 interruption_error_code = 0;
    bool has_guest_physical = false;
    bool has_guest_linear = false;
    GuestPhys guest_physical{};
    Linear guest_linear{};
    u32 entry_failure_bit = 0;           ///< exit_reason_entry_failure for `entry` exits
    bool ends_vectoring = false;         ///< caused directly by its event: no IDT-vectoring information
    /// Of a VMX instruction attempted in non-root operation: the pointer in its memory operand (VMXON,
    /// VMPTRLD, VMCLEAR), or the field encoding (VMREAD, VMWRITE). Read without side effects; empty when the
    /// operand is not mapped.
    std::optional<u64> operand;
    u8 to = to_parent;                   ///< level that receives it
    bool as_running = false;             ///< a hypervisor further down sees the running level's state
    // filled when the exit is recognised
    u8 level = 1;                        ///< that ran
    u64 vmcs = 0;                        ///< current-VMCS pointer
    u64 linear_rip = 0;                  ///< guest's CS.base + RIP
    u64 ticks = 0;
    u64 cycles_before = 0;               ///< before the exit is charged
    u64 cycles_after = 0;                ///< when the host's first instruction starts
    u64 vmcs_after = ~0ull;              ///< of an exit to non-root operation: the VMCS that is current now
};

/// What the router decided about an exit.
struct Route {
    /// True: the router has done everything (transferred the exit elsewhere or made the instruction's effect
    /// happen); the state of the CPU is what executes next. False: the SDM's exit to root follows.
    bool taken = false;
    std::string_view why = "sdm";        ///< for statistics
};

/// Directs exits. Implemented in nested/; without one every exit goes to root operation.
class ExitRouter {
public:
    virtual ~ExitRouter() = default;
    /// Called once for each exit of non-root operation, before any state is saved. RIP is the exiting
    /// instruction's.
    virtual Route route(const ExitEvent& event, Vmx& vmx) = 0;
    /// VM entry is about to deliver the injected event in Cpu::vectoring. True: the event became an exit to
    /// non-root operation; nothing is delivered.
    virtual bool induced(u32 /*information*/, u64 /*error_code*/, Vmx& /*vmx*/) { return false; }
    /// An exit to root operation is complete, the host's state is loaded.
    virtual void in_root(const ExitEvent& /*event*/, Vmx& /*vmx*/) {}
    /// VM entry is about to check the guest-state area of the current VMCS.
    virtual void entering(Vmx& /*vmx*/) {}
    /// A VMWRITE in non-root operation wrote a field of the VMCS that the link pointer leads to.
    virtual void written_in_non_root(const Vmcs& /*vmcs*/, Field /*field*/) {}
    /// The guest of the current VMCS runs next; an event that is injected is not delivered yet.
    virtual void entered(Vmx& /*vmx*/) {}
};

struct EntryEvent {
    u64 vmcs = 0;
    bool launch = false;
    u64 ticks = 0;
    u64 cycles_before = 0;  ///< before the entry is charged
    u64 linear_rip = 0;     ///< of VMLAUNCH or VMRESUME
    /// The VMCS pointers of the hypervisors beneath the level that runs now, each in its own address space. Empty
    /// unless several levels run in this processor (routing design `native`).
    std::span<const u64> path{};
};

/// A VMWRITE that executed.
struct FieldWrite {
    u64 vmcs = 0;
    Field field;
    u64 value = 0;
    u64 ticks = 0;
    u64 linear_rip = 0;
};

/// A VMX instruction that ends with VMfailValid, or, without an error number, with VMfailInvalid.
struct FailedInstruction {
    std::optional<VmxError> error;
    std::string_view name;
    u64 ticks = 0;
    u64 linear_rip = 0;
};

/// Remembers who wrote which field. Costs nothing while nobody does.
class FieldRecorder {
public:
    virtual ~FieldRecorder() = default;
    virtual void wrote(const FieldWrite& write) = 0;
};

/// Watches VMX operation. Every function is called after the architectural effect unless said otherwise. Must
/// not change the state of the machine.
class VmxObserver {
public:
    virtual ~VmxObserver() = default;
    virtual void vmxon(u64 /*pointer*/) {}
    virtual void vmxoff() {}
    virtual void vmptrld(u64 /*address*/) {}
    virtual void vmclear(u64 /*address*/) {}
    /// VMREAD and VMWRITE that executed: in root operation, or in non-root operation on a shadow VMCS.
    virtual void vmread(Field, u64 /*value*/, bool /*shadow*/) {}
    virtual void vmwrite(Field, u64 /*value*/, bool /*shadow*/) {}
    /// VM entry succeeded: the guest's state is loaded, no event is injected yet.
    virtual void entered(const EntryEvent&) {}
    /// A check of VM entry fails; nothing is loaded yet. Before entry_failed.
    virtual void entry_check_failed(const EntryEvent&, const EntryCheck&, const EntryContext&) {}
    /// VM entry cannot load the n-th MSR of its area, counted from 1. Before entry_failed.
    virtual void entry_msr_failed(const EntryEvent&, u64 /*number*/) {}
    /// VM entry failed; `check` is the rule that was broken.
    virtual void entry_failed(const EntryEvent&, std::string_view /*check*/) {}
    virtual void instruction_failed(const FailedInstruction&) {}
    /// A VMX abort; the processor shuts down next. The VMCS is still the current one.
    virtual void aborted(VmxAbort) {}
    /// An exit was recognised; the guest's state is still in the CPU. Called before the router.
    virtual void exit_recognised(const ExitEvent&) {}
    /// An exit went to non-root operation: the hypervisor that runs under the now current VMCS received it.
    virtual void exited_to_non_root(const ExitEvent&) {}
    /// An entry without root operation: the guest of the now current VMCS runs.
    virtual void entered_from_non_root(const EntryEvent&) {}
    /// After exited(), when the exit went to level `event.to` above root operation. (routing design `native`)
    virtual void received(const ExitEvent&) {}
    /// The host's state is loaded.
    virtual void exited(const ExitEvent&) {}
};

}  // namespace droste
