// SPDX-License-Identifier: Apache-2.0
// Vmx: VMX operation of one logical processor: its VMCS pointers, VM entries, VM exits, and what non-root
// code may do.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "base/events.h"
#include "cpu/cpu.h"
#include "cpu/msr.h"
#include "cpu/non_root.h"
#include "vmx/apic_virtualization.h"
#include "vmx/capability_msrs.h"
#include "vmx/exit_router.h"
#include "vmx/guest_image.h"
#include "vmx/guest_timer.h"
#include "mmu/ept_chain.h"
#include "vmx/insns.h"
#include "vmx/layer.h"
#include "vmx/vmcs.h"
#include "vmx/vmx_errors.h"

namespace droste {

struct EntryCheck;
struct RoutedExit;
enum class RouteFallback : u8;

/// A small set of VMCS addresses; forgets the oldest.
class CheckedVmcses {
public:
    bool has(u64 address, u64 mode) const {
        for (const Entry& e : entry_)
            if (e.address == address && e.mode == mode) return true;
        return false;
    }
    void add(u64 address, u64 mode) {
        remove(address);
        entry_[next_] = {address, mode};
        next_ = (next_ + 1) % entry_.size();
    }
    void remove(u64 address) {
        for (Entry& e : entry_)
            if (e.address == address) e.address = Vmcs::none;
    }
    void clear() { entry_.fill({}); }

private:
    struct Entry {
        u64 address = Vmcs::none;
        u64 mode = 0;  ///< IA32_EFER.LMA of the checks
    };
    std::array<Entry, 8> entry_{};
    unsigned next_ = 0;
};

class Vmx final : public NonRootHooks {
public:
    /// Attaches to `cpu`: from now on Cpu::hooks is this object. Both outlive neither the other's use.
    Vmx(Cpu& cpu, const VmxCapabilities& capabilities);
    ~Vmx() override;
    Vmx(const Vmx&) = delete;
    Vmx& operator=(const Vmx&) = delete;

    // ---- wiring
    /// Null: every exit goes to root operation.
    void set_router(ExitRouter* router) { router_ = router; }
    void add_observer(VmxObserver& observer) { observers_.push_back(&observer); }
    /// Null: VMWRITEs are not recorded.
    void set_field_recorder(FieldRecorder* recorder) { recorder_ = recorder; }
    /// The routing design `native`: VMX instructions of the first `levels` levels execute in the processor itself.
    void use_native(unsigned levels);
    const VmxCapabilities& capabilities() const { return caps_; }
    Cpu& cpu() { return cpu_; }
    /// Power-up and INIT outside VMX operation: leaves VMX operation.
    void reset();
    void visit(Archive& archive);

    // ---- state
    bool in_operation() const { return in_operation_; }
    /// The level that runs: 0 in root operation; above 1 in the design `native` alone.
    unsigned level() const { return level_; }
    /// The running level is in VMX operation, as it sees it itself.
    bool operating() const;
    /// VMX instructions of the running level, a guest, execute without VM exits.
    bool executes_vmx() const;
    /// What the design `native` could not do exactly.
    struct Fallbacks {
        u64 mmio_decode = 0;  ///< access of an inner level that a hypervisor further down would have to decode
        u64 lost_vmcs = 0;    ///< the VMCS of an inner level was no RAM any more
    };
    const Fallbacks& fallbacks() const { return fallbacks_; }
    u64 vmxon_pointer() const { return vmxon_pointer_; }
    /// The current VMCS; null when the current-VMCS pointer is FFFFFFFF_FFFFFFFFH.
    const Vmcs& current() const { return current_; }
    /// Controls of the VMCS that was entered; meaningful in non-root operation.
    const Controls& controls() const { return controls_; }
    std::span<VmxObserver* const> observers() const { return observers_; }
    VmxAbort last_abort() const { return abort_; }

    // ---- instructions (insns.cpp calls these after the operand is at hand)
    Outcome vmxon(u64 pointer);
    Outcome vmxoff();
    Outcome vmptrld(u64 address);
    Outcome vmclear(u64 address);
    Outcome vmfunc(const Insn& in);
    Outcome invept(u64 type, u64 eptp, u64 reserved);
    Outcome invvpid(u64 type, u64 descriptor, u64 linear);
    /// VMLAUNCH and VMRESUME after the checks of mode and privilege.
    Outcome enter(bool launch);
    /// The VMCS that VMREAD and VMWRITE act on: the current one, or in non-root operation the shadow VMCS.
    const Vmcs& accessed() const { return cpu_.non_root ? shadow_ : current_; }
    /// The running level's current VMCS is at hand, or there is none. False: reaching it failed.
    bool reach_own_vmcs();
    u64 vmcs_pointer() const {
        if (!executes_vmx()) return current_.address();
        return hidden().get(HiddenState::current);
    }
    /// VMREAD or VMWRITE of `encoding` in non-root operation exits.
    bool vmcs_access_exits(u64 encoding, bool write) const;
    /// Everything that depends on fields which software just wrote is computed again at the next entry.
    void written(Field field);
    void written_in_non_root(Field field) {
        if (router_ != nullptr) [[unlikely]] router_->written_in_non_root(shadow_, field);
    }
    void notify_vmread(Field f, u64 value) {
        for (VmxObserver* o : observers_) o->vmread(f, value, cpu_.non_root);
    }
    void notify_vmwrite(const Insn& in, Field f, u64 value) {
        for (VmxObserver* o : observers_) o->vmwrite(f, value, cpu_.non_root);
        if (recorder_ != nullptr) [[unlikely]] record_write(in, f, value);
    }
    /// Guest time of an instruction in the middle of a block, in ticks. Leaves no trace.
    u64 ticks_at(const Insn& in);

    // results of instructions, SDM "Conventions"
    Outcome succeed();
    Outcome fail_invalid();
    /// The error goes to the current VMCS, also when VMREAD or VMWRITE accessed a shadow VMCS.
    Outcome fail_valid(VmxError error);
    /// Names the instruction that the next failure is of.
    Vmx& executing(const Insn& in, std::string_view name) {
        executing_ = {.error = std::nullopt,
                      .name = name,
                      .ticks = ticks_at(in),
                      .linear_rip = cpu_.ea_base_cs() + cpu_.insn_rip(in)};
        return *this;
    }
    Outcome fail(VmxError error) { return own_vmcs() ? fail_valid(error) : fail_invalid(); }

    // ---- exits (exit.cpp). All need Cpu::rip at the guest's instruction.
    /// Recognises the exit: observers, the router, and unless that one took it, the SDM's exit to root
    /// operation.
    void exit(ExitEvent event);
    /// The SDM's exit to root operation. For routers that decide late.
    void exit_to_root(ExitEvent& event);
    /// The exit goes from non-root to non-root operation (routed_exit.h). Nothing is changed unless it succeeds.
    RouteFallback exit_to_non_root(ExitEvent& event, const RoutedExit& to);
    /// VMRESUME of a guest hypervisor enters `child`, whose guest state is in `state` (routed_entry.cpp). False: nothing
    /// was changed, the exit has to go to level 0.
    bool enter_from_non_root(const ExitEvent& event, const Vmcs& child, const Vmcs& state);
    /// An instruction's exit; instruction information and displacement are computed from `in`.
    /// `owner`: the layer whose hypervisor wants it; -1: the running level's own.
    void exit_insn(const ExitRow* row, const Insn& in, u64 qualification = 0, int owner = -1);
    /// A VMX instruction attempted in non-root operation; `operand` as in ExitEvent.
    void exit_attempt(const ExitRow* row, const Insn& in, std::optional<u64> operand);
    /// An exit of a memory access, of an instruction or of event delivery.
    void exit_access(const ExitRow* row, u64 qualification);
    /// Exit after the instruction that runs now has completed (APIC-write, virtualized EOI, TPR below
    /// threshold).
    void exit_after_instruction(const ExitRow* row, u64 qualification);

    // ---- NonRootHooks
    void exit_instruction(Gate gate, const Insn& in, u64 qualification) override;
    Decision write_cr(unsigned cr, u64 value, const Insn& in) override;
    Decision clts(const Insn& in) override;
    Decision lmsw(u16 source, const Insn& in, u64 linear) override;
    u64 shadowed_cr(unsigned cr, u64 value) const override;
    Decision read_cr(unsigned cr, const Insn& in) override;
    Decision io(const IoAccess& access, const Insn& in) override;
    Decision read_msr(u32 index, const Insn& in) override;
    Decision msr_list(bool write, u32 index, u64 value, const Insn& in) override;
    Decision write_msr(u32 index, u64 value, const Insn& in) override;
    bool user_notification(u32 destination, u8 vector) override;
    bool pause(const Insn& in) override;
    bool passes_masked_mwait() override;
    bool xsaves(u64 mask, bool restore, const Insn& in) override;
    bool exception(Fault fault, u64 qualification, bool software) override;
    bool before_init() override;
    bool before_debug_traps() override;
    bool after_debug_traps(bool nmi_pending, bool interrupt_pending) override;
    void init_signal() override;
    void sipi(u8 vector) override;
    void task_switch(u16 selector, unsigned source, u32 instruction_length) override;
    void triple_fault() override;
    void bus_locked() override;
    bool no_instruction_boundary() override;
    void memory_exit(const WalkFault& fault) override;
    Decision apic_access(u64 offset, Access access, Width width, u64 value, GuestPhys address) override;

    // ---- rows of MSRs: capability MSRs and IA32_FEATURE_CONTROL (msr_rows.cpp)
    static std::span<const MsrRow> msr_rows();

private:
    friend class RoutedTransfer;
    friend class ApicVirtualization;
    friend class GuestTimer;
    friend struct Layer;
    friend class PreemptionTimer;

    // entry.cpp
    Outcome fail_entry(const ExitRow* row, u64 qualification, const EntryEvent& event,
                       std::string_view check);
    const EntryCheck* check_controls_and_host();
    EntryContext entry_context();
    void notify_entered(const EntryEvent& event);
    void start_non_root();
    void close_gates();
    void apply_translation();
    void inject_event(u32 information);
    void set_gates(Layer& layer) const;
    void deliver_injected(u32 information);
    /// The design `deferred`: VMREAD and VMWRITE act on the VMCS of the link pointer also without VMCS shadowing.
    bool defers_vmcs_accesses() const {
        constexpr u64 design_deferred = 4;
        return controls_.has("exit_routing"_vmx) && (caps_.routing & 0xFF) == design_deferred;
    }
    // exit.cpp
    void describe(ExitEvent& event) const;
    void finish_exit(ExitEvent& event);
    ExitEvent instruction_event(const ExitRow* row, const Insn& in, u64 qualification) const;
    void record_exit_information(const ExitEvent& event, const Vmcs& v, const Controls& c);
    void save_guest_state(const ExitEvent& event, const Vmcs& v, Controls& c);
    bool keeps_pending_debug(const ExitEvent& event) const;
    u64 saved_rflags(const ExitEvent& event) const;
    void leave_non_root();
    bool load_host();  ///< false: VMX abort
    // routed_exit.cpp
    RouteFallback unfit_for_exit(const ExitEvent& event, const RoutedExit& to, const Controls& state_controls,
                                 const Controls& control_controls) const;
    void abort(VmxAbort why);
    // boundary.cpp
    bool monitor_trap_due();
    bool external_interrupt();
    void guest_timer_event();
    // native.cpp
    struct Climb {
        unsigned top = 0;      ///< topmost layer that is usable
        bool blocked = false;  ///< `fault` keeps the next one from being reached
        bool broken = false;   ///< there is no VMCS where one should be
        WalkFault fault{};
    };
    HiddenState hidden() const;  ///< of the VMCS by which the running level runs
    const Vmcs& own_vmcs() const { return executes_vmx() ? shadow_ : current_; }
    bool translate_in(unsigned layer, u64 address, Access access, u64& machine, WalkFault& fault);
    void set_chain_layer(unsigned k);
    void build_chain(unsigned depth);
    void compose_controls();
    int gate_owner(Gate gate) const;
    void find_own_vmcs();
    bool reach_region(u64 address, u64& machine);
    void begin_operation(u64 pointer, u32 revision);
    void end_operation();
    bool reach_structures(Layer& layer, WalkFault& fault);
    bool prepare_layer(unsigned k, const Vmcs& v, u64 pointer, WalkFault& fault);
    Climb prepare_climb(unsigned from);
    void save_own();
    bool load_image(const GuestImage& image, const Controls& runs_under);
    void settle_on(unsigned level);
    bool view_changed(const HiddenState& h) const;
    void resume_inner(const Climb& climb, u32 injected, const EntryEvent& event);
    void offer_injected(unsigned d, u32 injected, SuspendedRun& run);
    SuspendedRun suspend(const ExitEvent& event);
    void exit_nested(ExitEvent& event);
    void stop_layers(unsigned from);
    void exit_to_parent(ExitEvent& event);
    void exit_below(ExitEvent& event, unsigned to, const SuspendedRun& run, bool as_running);
    bool load_level(unsigned to, bool store_area);
    bool store_msr_area(const Vmcs& v, unsigned layer);
    u64 load_msr_area(const Vmcs& v, Field address, Field count, unsigned layer);
    void path_changed();
    void visit_native(Archive& archive);
    void restore_layers();
    /// Machine address of an address in a field of the current VMCS.
    u64 at(u64 address) const { return layers_[level_ == 0 ? 0 : level_ - 1]->reach(address); }
    Layer& layer() const { return *layers_[level_ == 0 ? 0 : level_ - 1]; }
    // native_events.cpp
    bool would_take_interrupt(unsigned level) const;
    bool take_offered(unsigned k);
    bool take_virtual_interrupt(unsigned k);
    bool events_beneath(bool nmi_pending, bool interrupt_pending);
    ExitEvent memory_event(const WalkFault& fault);
    // intercepts.cpp
    bool io_intercepted(unsigned layer, const IoAccess& access) const;
    bool pause_loop(Layer& l, const Insn& in);
    Decision cr_access_exit(unsigned cr, unsigned access, unsigned gpr, const Insn& in);
    bool msr_intercepted(u32 index, bool write, unsigned layer) const;
    int msr_owner(u32 index, bool write) const;
    Decision read_virtual_msr(u32 index);
    Decision write_virtual_msr(u32 index, u64 value);
    // virtualization_exception.cpp
    bool converts(const WalkFault& fault) const;
    void virtualization_exception(u64 qualification, const WalkFault& fault);
    // vmx.cpp
    void make_current(const Vmcs& v);
    /// Tells the CPU which bits of CR0 and CR4 VMX operation fixes now.
    void fix_control_registers();
    u64 get(Field f) const { return current_[f]; }
    void record_write(const Insn& in, Field f, u64 value);
    void notify_failure(std::optional<VmxError> error);

    Cpu& cpu_;
    const VmxCapabilities caps_;
    ExitRouter* router_ = nullptr;
    std::vector<VmxObserver*> observers_;
    FieldRecorder* recorder_ = nullptr;
    FailedInstruction executing_;  // the VMX instruction that may fail

    bool in_operation_ = false;
    u64 vmxon_pointer_ = Vmcs::none;
    Vmcs current_;

    /// VMCSs whose control fields and host-state area passed their checks and were not written since.
    CheckedVmcses checked_;
    Controls controls_;
    // valid in non-root operation
    Vmcs shadow_;

    struct PendingExit {     ///< trap-like: due at the end of the instruction
        bool present = false;
        u16 reason = 0;
        u64 qualification = 0;
    };
    PendingExit pending_exit_;
    struct MonitorTrap {
        bool armed = false;  ///< the control is 1
        bool due = false;    ///< at the next boundary whether or not an instruction completes
        bool fresh = false;  ///< no boundary was seen since VM entry
        u64 from = 0, from_rip = 0;  ///< time and RIP at the first boundary
    };
    MonitorTrap mtf_;
    bool bus_locked_ = false;  ///< since VM entry, with "VMM bus-lock detection"
    u32 timer_stopped_value_ = 0;
    VmxAbort abort_ = VmxAbort::none;
    GuestTimer guest_timer_;
    unsigned level_ = 0;
    unsigned native_levels_ = 0;  ///< 0: the SDM's design
    std::vector<std::unique_ptr<Layer>> layers_;
    EptChain chain_;
    u32 chain_number_ = 0;        ///< of what the running level's guests run on
    const Controls full_controls_;
    alignas(8) std::array<u8, vmcs_layout::size> scratch_memory_{};
    const Vmcs scratch_ = Vmcs::over(scratch_memory_.data());
    std::vector<u64> path_;       ///< VMCS pointers of the layers beneath
    Fallbacks fallbacks_;
};

/// The Vmx attached to a processor, or null when its model has none.
inline Vmx* vmx_of(Cpu& cpu) { return static_cast<Vmx*>(cpu.hooks); }

}  // namespace droste
