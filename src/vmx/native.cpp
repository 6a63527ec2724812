// SPDX-License-Identifier: Apache-2.0
// The routing design `native`: levels above a guest hypervisor run in the same processor. How an inner run is
// entered, suspended and resumed, and how the hypervisors beneath see it.
//
//   level 0 --VMCS of layer 0--> level 1 --VMCS of layer 1--> level 2 -- ... --> running level
//
// For the hypervisor of layer k the VMRESUME of its guest is one long instruction: an exit to it that the running
// level did not make as its own guest finds the guest at that instruction ("at VMRESUME").
#include <algorithm>

#include "cpu/control_registers.h"
#include "vmx/entry_checks.h"
#include "vmx/interruption.h"
#include "vmx/msr_area.h"
#include "vmx/state_area.h"
#include "vmx/vmx.h"

namespace droste {

namespace {

constexpr u64 present_bit = 1ull << 63;
constexpr u64 offered_interrupt = 0x100, offered_nmi = 0x200;

/// SDM "Interruptibility State": by STI and MOV SS.
constexpr u64 sti_or_mov_ss = interruptibility_bits::sti | interruptibility_bits::mov_ss;

constexpr u64 mask_of(std::initializer_list<Gate> gates) {
    Gates g;
    for (const Gate x : gates) g.close(x);
    return g.closed_mask;
}

/// What guards things that all levels share: it counts for everything above.
constexpr u64 resource_gates =
    mask_of({Gate::hlt, Gate::mwait, Gate::monitor, Gate::rdpmc, Gate::rdtsc, Gate::io, Gate::pause, Gate::wbinvd,
             Gate::rdrand, Gate::rdseed, Gate::ple});

/// The VMX structures that entries and guests use, by the control that makes them exist.
struct Structure {
    Field address;
    Capability control;
    bool written;
};
constexpr Structure structures[] = {
    {"io_bitmap_a_address"_f, "use_io_bitmaps"_vmx, false},
    {"io_bitmap_b_address"_f, "use_io_bitmaps"_vmx, false},
    {"msr_bitmap_address"_f, "use_msr_bitmaps"_vmx, false},
    {"virtual_apic_address"_f, "use_tpr_shadow"_vmx, true},
    {"apic_access_address"_f, "virtualize_apic_accesses"_vmx, false},
    {"posted_interrupt_descriptor_address"_f, "process_posted_interrupts"_vmx, true},
    {"pml_address"_f, "enable_pml"_vmx, true},
    {"eptp_list_address"_f, "enable_vm_functions"_vmx, false},
    {"virtualization_exception_information_address"_f, "ept_violation_ve"_vmx, true},
    {"pid_pointer_table_address"_f, "ipi_virtualization"_vmx, false},
};

}  // namespace

// ---- structures of a layer

void Layer::remember(u64 page, u64 machine) const {
    pages_[next_page_] = {page, machine};
    next_page_ = (next_page_ + 1) % pages_.size();
}

u64 Layer::reach_beneath(u64 address) const {
    const u64 page = address & ~0xFFFull;
    for (const Page& p : pages_)
        if (p.address == page) return p.machine | (address & 0xFFF);
    WalkFault fault;
    u64 machine = 0;
    // Who checks first has reached it at VM entry; the rest is read as a device that is not there.
    if (!vmx.translate_in(number, page, Access::write, machine, fault) &&
        !vmx.translate_in(number, page, Access::read, machine, fault))
        return unreachable | (address & 0xFFF);
    remember(page, machine);
    return machine | (address & 0xFFF);
}

bool Vmx::translate_in(unsigned layer, u64 address, Access access, u64& machine, WalkFault& fault) {
    if (layer == 0) {
        machine = address;
        return true;
    }
    return cpu_.mmu.translate_structure(chain_, layer, address, access, machine, fault);
}

// ---- the chain

void Vmx::use_native(unsigned levels) {
    native_levels_ = std::min(levels, most_layers);
    while (layers_.size() < native_levels_)
        layers_.push_back(std::make_unique<Layer>(*this, static_cast<unsigned>(layers_.size())));
}

void Vmx::set_chain_layer(unsigned k) {
    const Layer& l = *layers_[k];
    const Controls& c = l.controls;
    EptLayer& e = chain_.layer[k];
    e = {};
    e.ept = c.has("enable_ept"_vmx);
    e.vpid = c.has("enable_vpid"_vmx) ? static_cast<u16>(l.vmcs["virtual_processor_identifier"_f]) : u16{0};
    e.eptp = e.ept ? l.vmcs["eptp"_f] : 0;
    e.guest.mode_based_execute = c.has("mode_based_execute_control_for_ept"_vmx);
    e.log = c.has("enable_pml"_vmx) ? layers_[k].get() : nullptr;
}

void Vmx::build_chain(unsigned depth) {
    chain_.depth = depth;
    for (unsigned k = 0; k < depth; ++k) set_chain_layer(k);
    chain_number_ = cpu_.mmu.number_chain(chain_);
}

HiddenState Vmx::hidden() const { return HiddenState(layers_[level_ - 1]->vmcs); }

bool Vmx::executes_vmx() const {
    return native_levels_ > level_ && level_ != 0 && controls_.has("enable_ept"_vmx);
}

bool Vmx::operating() const {
    return executes_vmx() ? hidden().has(HiddenState::in_operation) : in_operation_;
}

void Vmx::compose_controls() {
    u64 closed = layers_[level_ - 1]->gates;
    for (unsigned k = 0; k + 1 < level_; ++k) closed |= layers_[k]->gates & resource_gates;
    cpu_.gates.closed_mask = closed;
    // TSC: from layer 0 upwards.
    cpu_.tsc_multiplier = 1ull << 48;
    cpu_.tsc_offset = 0;
    bool bus_locks = false;
    for (unsigned k = 0; k < level_; ++k) {
        const Layer& l = *layers_[k];
        bus_locks |= l.controls.has("vmm_bus_lock_detection"_vmx);
        if (!l.controls.has("use_tsc_offsetting"_vmx)) continue;
        if (l.controls.has("use_tsc_scaling"_vmx)) {
            const u64 m = l.vmcs["tsc_multiplier"_f];
            cpu_.tsc_offset = static_cast<u64>(static_cast<i128>(static_cast<i64>(cpu_.tsc_offset)) * m >> 48);
            cpu_.tsc_multiplier = static_cast<u64>(u128(cpu_.tsc_multiplier) * m >> 48);
        }
        cpu_.tsc_offset += l.vmcs["tsc_offset"_f];
    }
    cpu_.vmm_watches_bus_locks = bus_locks;
    if (level_ > 1) {
        cpu_.ept_enabled = true;  // some layer has it
        cpu_.ept_chain = &chain_;
        cpu_.ept_beneath = chain_.layer[level_ - 1].beneath;
    }
}

int Vmx::gate_owner(Gate gate) const {
    for (unsigned k = level_; k-- > 0;) {
        const u64 counts = k + 1 == level_ ? ~0ull : resource_gates;
        if ((layers_[k]->gates & counts) >> static_cast<unsigned>(gate) & 1) return static_cast<int>(k);
    }
    return static_cast<int>(level_) - 1;
}

/// The running level's own state as a hypervisor.
void Vmx::find_own_vmcs() {
    shadow_ = Vmcs();
    if (!executes_vmx()) return;
    const HiddenState h = hidden();
    if (!h.has(HiddenState::in_operation) || h.get(HiddenState::current) == Vmcs::none) return;
    WalkFault fault;
    u64 machine = 0;
    build_chain(level_);
    if (!translate_in(level_, h.get(HiddenState::current), Access::write, machine, fault)) return;
    const Vmcs v(cpu_.memory, machine);
    if (!v) return;
    if (h.get(HiddenState::current_machine) != machine) {
        checked_.remove(machine);
        h.set(HiddenState::current_machine, machine);
    }
    shadow_ = v;
    cpu_.memory.about_to_write(machine, vmcs_layout::size);
}

// The page may have been away when the level was entered: VMREAD and the others look again.
bool Vmx::reach_own_vmcs() {
    if (shadow_ || !executes_vmx()) return true;
    const HiddenState h = hidden();
    const u64 pointer = h.get(HiddenState::current);
    if (!h.has(HiddenState::in_operation) || pointer == Vmcs::none) return true;
    u64 machine = 0;
    if (!reach_region(pointer, machine)) return false;
    find_own_vmcs();
    return true;
}

bool Vmx::reach_region(u64 address, u64& machine) {
    machine = address;
    if (!executes_vmx()) return true;
    WalkFault fault;
    if (cpu_.mmu.translate_guest_physical(GuestPhys(address), Access::write, machine, fault)) return true;
    cpu_.memory_fault = fault;
    cpu_.pending_memory_exit = true;
    return false;
}

void Vmx::begin_operation(u64 pointer, u32 revision) {
    const HiddenState h = hidden();
    h.set(HiddenState::vmxon_pointer, pointer);
    h.set(HiddenState::revision, revision);
    h.set(HiddenState::current, Vmcs::none);
    h.put(HiddenState::in_operation, true);
    shadow_ = Vmcs();
}

void Vmx::end_operation() {
    hidden().put(HiddenState::in_operation, false);
    shadow_ = Vmcs();
}

// ---- entries

bool Vmx::reach_structures(Layer& l, WalkFault& fault) {
    l.forget_pages();
    if (l.number == 0) return true;
    const auto reach = [&](u64 address, bool written) {
        u64 machine = 0;
        const u64 page = address & ~0xFFFull;
        if (!translate_in(l.number, page, written ? Access::write : Access::read, machine, fault)) return false;
        l.remember(page, machine);
        return true;
    };
    for (const Structure& s : structures)
        if (l.controls.has(s.control) && !reach(l.vmcs[s.address], s.written)) return false;
    struct Area {
        Field address, count;
        bool written;
    };
    for (const Area& a : {Area{"entry_msr_load_address"_f, "entry_msr_load_count"_f, false},
                          Area{"exit_msr_store_address"_f, "exit_msr_store_count"_f, true},
                          Area{"exit_msr_load_address"_f, "exit_msr_load_count"_f, false}}) {
        const u64 bytes = std::min<u64>(l.vmcs[a.count], 512) * 16;
        for (u64 at = 0; at < bytes; at += 0x1000)
            if (!reach(l.vmcs[a.address] + at, a.written)) return false;
        if (bytes != 0 && !reach(l.vmcs[a.address] + bytes - 1, a.written)) return false;
    }
    return true;
}

bool Vmx::prepare_layer(unsigned k, const Vmcs& v, u64 pointer, WalkFault& fault) {
    Layer& l = *layers_[k];
    l.vmcs = v;
    l.pointer = pointer;
    l.controls = controls_of(v);
    set_gates(l);
    cpu_.memory.about_to_write(v.address(), vmcs_layout::size);
    return reach_structures(l, fault);
}

// Of the chain above layer `from`, as far as it is intact. The layers are usable afterwards.
Vmx::Climb Vmx::prepare_climb(unsigned from) {
    Climb climb{.top = from};
    for (unsigned k = from;; ++k) {
        const HiddenState h(layers_[k]->vmcs);
        if (!h.has(HiddenState::active)) return climb;
        if (k + 1 >= native_levels_) break;
        chain_.depth = k + 1;
        for (unsigned i = from; i <= k; ++i) set_chain_layer(i);
        cpu_.mmu.number_chain(chain_);
        const u64 pointer = h.get(HiddenState::entered);
        u64 machine = 0;
        if (!translate_in(k + 1, pointer, Access::write, machine, climb.fault)) {
            climb.blocked = true;
            return climb;
        }
        const Vmcs v(cpu_.memory, machine);
        if (!v) break;
        if (!prepare_layer(k + 1, v, pointer, climb.fault)) {
            climb.blocked = true;
            return climb;
        }
        climb.top = k + 1;
    }
    climb.broken = true;
    return climb;
}

void Vmx::save_own() {
    save_guest_area(cpu_, scratch_, full_controls_, caps_, cpu_.read_rflags());
    GuestImage image;
    image.from(scratch_);
    const HiddenState h = hidden();
    h.save(HiddenState::own, image);
    h.set(HiddenState::entered, h.get(HiddenState::current));
    h.put(HiddenState::active, true);
    h.put(HiddenState::presented_running, false);
}

// A hypervisor may have scribbled on what its VMCSs keep: only what VM entry would take is ever loaded.
bool Vmx::load_image(const GuestImage& image, const Controls& runs_under) {
    image.to(scratch_);
    scratch_.set("vmcs_link_pointer"_f, ~0ull);
    Controls c = full_controls_;
    constexpr Capability kept[] = {"unrestricted_guest"_vmx, "virtual_nmis"_vmx};
    for (const Capability x : kept)
        if (runs_under.has(x)) c[x.word] |= x.mask();
    if (image.value[GuestImage::index("guest_ia32_efer"_f)] & efer_bits::lma)
        c[VmxWord::entry] |= "ia32e_mode_guest"_vmx.mask();
    scratch_.set("guest_cr4"_f, scratch_["guest_cr4"_f] & caps_.cr4_fixed1);
    const EntryContext x{scratch_, c, caps_, cpu_};
    if (first_failing(guest_entry_checks(), x) != nullptr) return false;
    load_guest_area(cpu_, scratch_, c);
    return true;
}

/// Makes level `level` the running one: its VMCS, controls, translation.
void Vmx::settle_on(unsigned level) {
    level_ = level;
    const Layer& l = *layers_[level - 1];
    current_ = l.vmcs;
    controls_ = l.controls;
    cpu_.non_root = true;
    close_gates();
    apply_translation();
    fix_control_registers();
    find_own_vmcs();
}

bool Vmx::view_changed(const HiddenState& h) const {
    GuestImage own;
    h.load(HiddenState::own, own);
    for (const Field f : {"guest_rip"_f, "guest_cr0"_f, "guest_cr3"_f, "guest_cr4"_f})
        for (unsigned i = 0; i < own.value.size(); ++i)
            if (guest_registers[i] == f && own.value[i] != get(f)) return true;
    return false;
}

// VM entry into a level that is inside its own VMRESUME: goes on with the level that ran above it.
void Vmx::resume_inner(const Climb& climb, u32 injected, const EntryEvent& event) {
    const unsigned d = level_ - 1;
    const HiddenState h = hidden();
    SuspendedRun run;
    h.load(run);
    const bool as_running = h.has(HiddenState::presented_running);
    const bool ended = !as_running && view_changed(h);
    if (as_running)
        for (unsigned i = 0; i < guest_registers.size(); ++i)
            if (saved_by_exit(guest_registers[i], controls_, caps_, cpu_)) run.image.value[i] = get(guest_registers[i]);
    h.put(HiddenState::presented_running, false);
    if (climb.broken || (!climb.blocked && !load_image(run.image, layers_[climb.top]->controls))) {
        // What ran above is gone: the guest executes its VMRESUME again, and hears of it.
        h.put(HiddenState::active, false);
        ++fallbacks_.lost_vmcs;
        GuestImage own;
        h.load(HiddenState::own, own);
        (void)load_image(own, controls_);  // else as the guest-state area says
        settle_on(level_);
        cpu_.context_changed();
        notify_entered(event);
        return;
    }
    if (climb.blocked) {
        ExitEvent e = memory_event(climb.fault);
        describe(e);
        e.to = static_cast<u8>(std::max<unsigned>(climb.fault.layer, d));
        e.level = static_cast<u8>(e.to + 1);
        level_ = e.to + 1u;
        notify_entered(event);
        for (VmxObserver* o : observers_) o->exit_recognised(e);
        exit_below(e, e.to, run, false);
        return;
    }
    const unsigned top = climb.top + 1;
    for (unsigned k = d + 1; k < top; ++k) {
        const HiddenState above(layers_[k]->vmcs);
        const u64 timer = above.get(HiddenState::timer);
        if (timer & present_bit) layers_[k]->timer.start(static_cast<u32>(timer));
    }
    settle_on(top);
    for (unsigned k = d + 1; k < top; ++k) layers_[k]->apic.evaluate_again();
    cpu_.vectoring = {};
    cpu_.context_changed();
    mtf_ = {.armed = cpu_.monitor_trap, .due = (run.monitor_trap & 1) != 0, .fresh = true};
    pending_exit_ = {};
    for (const ExitRow* row : {"apic_write"_exit, "virtualized_eoi"_exit, "tpr_below_threshold"_exit})
        if (run.pending_exit == (present_bit | row->number))
            pending_exit_ = {true, row->number, run.pending_exit_qualification};
    notify_entered(event);
    cpu_.set_attention();
    if (ended) {
        // The hypervisor beneath changed where its guest stands: a spurious wake-up ends the inner run.
        ExitEvent e;
        e.row = "external_interrupt"_exit;
        e.ends_vectoring = true;
        e.to = static_cast<u8>(d + 1);
        exit(e);
        return;
    }
    if (injected & interruption::valid) offer_injected(d, injected, run);
    if (level_ == top && run.vectoring.active) {
        if (run.vectoring.injected) cpu_.charge(CostEvent::vm_entry_event_injection);
        cpu_.deliver_event(run.vectoring);
    }
}

// An event that the hypervisor of layer `d` injects into its guest, which is inside VMRESUME.
void Vmx::offer_injected(unsigned d, u32 injected, SuspendedRun& run) {
    const unsigned type = (injected >> 8) & 7;
    const HiddenState h(layers_[d]->vmcs);
    cpu_.charge(CostEvent::vm_entry_event_injection);
    if (type == interruption::external) {
        h.set(HiddenState::offered, offered_interrupt | (injected & 0xFF));
        return;
    }
    if (type == interruption::nmi) {
        h.set(HiddenState::offered, offered_nmi);
        return;
    }
    // Of an instruction that was emulated for the running level, or a machine check.
    if (run.vectoring.active) return;  // the event whose delivery was cut off raises it again
    const auto vector = static_cast<u8>(injected);
    const Vmcs& v = layers_[d]->vmcs;
    if (type == interruption::hardware_exception) {
        cpu_.deliver((injected & interruption::has_code)
                         ? Fault::of(static_cast<Vector>(vector), static_cast<u32>(v["entry_exception_error_code"_f]))
                         : Fault::of(static_cast<Vector>(vector)));
        return;
    }
    if (type == interruption::other_event) return;
    cpu_.deliver_event({.active = true,
                        .vector = vector,
                        .type = static_cast<u8>(type),
                        .instruction_length = static_cast<u32>(v["entry_instruction_length"_f])});
}

// ---- exits

SuspendedRun Vmx::suspend(const ExitEvent& e) {
    save_guest_area(cpu_, scratch_, full_controls_, caps_, saved_rflags(e));
    SuspendedRun run;
    run.image.from(scratch_);
    run.vectoring = cpu_.vectoring;
    if (e.ends_vectoring) run.vectoring.active = false;
    if (pending_exit_.present) run.pending_exit = present_bit | pending_exit_.reason;
    run.pending_exit_qualification = pending_exit_.qualification;
    run.monitor_trap = mtf_.due;
    return run;
}

void Vmx::exit_nested(ExitEvent& e) {
    const unsigned to = e.to;
    if (to + 1 == level_) {
        exit_to_parent(e);
        return;
    }
    const SuspendedRun run = suspend(e);
    exit_below(e, to, run, e.as_running);
}

void Vmx::stop_layers(unsigned from) {
    for (unsigned k = from; k < level_; ++k) {
        Layer& l = *layers_[k];
        const bool runs = l.controls.has("activate_vmx_preemption_timer"_vmx);
        const u32 left = l.timer.value();
        l.timer.stop();
        if (k == from) timer_stopped_value_ = left;
        else HiddenState(l.vmcs).set(HiddenState::timer, runs ? present_bit | left : 0);
    }
}

void Vmx::exit_to_parent(ExitEvent& e) {
    stop_layers(level_ - 1);
    record_exit_information(e, current_, controls_);
    const u64 emulated = get("guest_cr4"_f) & ~caps_.cr4_fixed1;
    save_guest_state(e, current_, controls_);
    current_.set("guest_cr4"_f, get("guest_cr4"_f) | emulated);
    finish_exit(e);
}

// To a hypervisor that is not the running level's own.
void Vmx::exit_below(ExitEvent& e, unsigned to, const SuspendedRun& run, bool as_running) {
    if (level_ > to + 1) stop_layers(to);
    else stop_layers(level_ - 1);
    const Layer& l = *layers_[to];
    const HiddenState h(l.vmcs);
    h.save(run);
    h.put(HiddenState::presented_running, as_running);
    const bool open = would_take_interrupt(to + 1);
    current_ = l.vmcs;
    controls_ = l.controls;
    e.ends_vectoring = true;  // the processor keeps the event and delivers it again
    if (!as_running) {
        constexpr u64 of_memory = 0x7F;
        if (e.row == "ept_violation"_exit) e.qualification &= of_memory;
        e.has_guest_linear = false;
        e.qualification &= ~(e.row == "page_modification_log_full"_exit ? u64{interruption::nmi_unblocking} : 0);
    }
    record_exit_information(e, current_, controls_);
    GuestImage image = run.image;
    if (!as_running) h.load(HiddenState::own, image);
    for (unsigned i = 0; i < guest_registers.size(); ++i)
        if (saved_by_exit(guest_registers[i], controls_, caps_, cpu_)) current_.set(guest_registers[i], image.value[i]);
    if (!as_running) {
        u64 rflags = image.value[GuestImage::index("guest_rflags"_f)];
        u64 blocking = image.value[GuestImage::index("guest_interruptibility_state"_f)];
        if (open) {
            rflags |= rflags_bits::if_;
            blocking &= ~u64{sti_or_mov_ss};
        } else {
            rflags &= ~rflags_bits::if_;
        }
        current_.set("guest_rflags"_f, rflags & ~rflags_bits::rf);
        current_.set("guest_interruptibility_state"_f, blocking);
        current_.set("guest_pending_debug_exceptions"_f, 0);
        current_.set("guest_activity_state"_f, 0);
    }
    if (controls_.has("save_vmx_preemption_timer_value"_vmx))
        current_.set("vmx_preemption_timer_value"_f, timer_stopped_value_);
    if (caps_.has("store_efer_lma"_vmx)) {
        constexpr u64 ia32e = "ia32e_mode_guest"_vmx.mask();
        const bool lma = image.value[GuestImage::index("guest_ia32_efer"_f)] & efer_bits::lma;
        u64& entry = controls_[VmxWord::entry];
        entry = lma ? entry | ia32e : entry & ~ia32e;
        current_.set("entry_controls"_f, entry);
    }
    level_ = to + 1;
    // What this exit leaves alone is as its guest has it at the VMRESUME, whatever the levels above loaded.
    GuestImage own;
    h.load(HiddenState::own, own);
    (void)load_image(own, controls_);
    finish_exit(e);
}

// Level `to` goes on where the VMCS for its guest says.
bool Vmx::load_level(unsigned to, bool store_area) {
    const Vmcs guest = current_;
    const Controls guest_controls = controls_;
    const bool old_lma = cpu_.efer & efer_bits::lma;
    const HiddenState h(layers_[to - 1]->vmcs);
    h.put(HiddenState::active, false);
    cpu_.vectoring.active = false;
    pending_exit_.present = false;
    bus_locked_ = false;
    settle_on(to);
    mtf_ = {.armed = cpu_.monitor_trap, .due = false, .fresh = true};
    cpu_.context_changed();
    if (store_area && !store_msr_area(guest, to)) {
        abort(VmxAbort::msr_store);
        return false;
    }
    load_host_area(cpu_, guest, guest_controls);
    // What the level's CR0 and CR4 are to itself is host state; the bits that the hypervisor beneath owns stay.
    const auto owned = [&](Field mask, Field shadow, Field own, u64 host, u64& real) {
        const u64 m = get(mask);
        GuestImage image;
        h.load(HiddenState::own, image);
        for (unsigned i = 0; i < image.value.size(); ++i)
            if (guest_registers[i] == own) real = (host & ~m) | (image.value[i] & m);
        current_.set(shadow, (get(shadow) & ~m) | (host & m));
    };
    u64 cr0 = cpu_.cr0, cr4 = cpu_.cr4;
    owned("cr0_guest_host_mask"_f, "cr0_read_shadow"_f, "guest_cr0"_f, cpu_.cr0, cr0);
    owned("cr4_guest_host_mask"_f, "cr4_read_shadow"_f, "guest_cr4"_f, cpu_.cr4, cr4);
    // The mode is the host's, whatever the image holds.
    constexpr u64 mode0 = cr0_bits::pe | cr0_bits::pg | cr0_bits::wp, mode4 = cr4_bits::pae | cr4_bits::la57;
    if (((cr0 ^ cpu_.cr0) & mode0) == 0 && (caps_.cr0_fixed0 & ~cr0) == 0)
        cpu_.cr0 = (cr0 & ~cr0_kept) | (cpu_.cr0 & cr0_kept);
    if (((cr4 ^ cpu_.cr4) & mode4) == 0 && (caps_.cr4_fixed0 & ~cr4) == 0) cpu_.cr4 = cr4;
    cpu_.cr4 &= caps_.cr4_fixed1;
    cpu_.activity = Activity::active;
    cpu_.interruptibility = 0;
    cpu_.pending_debug = 0;
    cpu_.unwatch_line();
    cpu_.iret_unblocked_nmi = false;
    if (!guest_controls.has("enable_vpid"_vmx)) cpu_.mmu.invvpid_single(0, false, chain_number_);
    layers_[to - 1]->apic.evaluate_again();
    cpu_.context_changed();
    cpu_.set_attention();
    if (old_lma && !guest_controls.has("host_address_space_size"_vmx)) {
        abort(VmxAbort::from_32_bit_host);
        return false;
    }
    const bool pae = (cpu_.cr4 & cr4_bits::pae) && !cpu_.long_mode();
    if (pae && !load_pdptes(cpu_, cpu_.cr3)) {
        cpu_.pending_fault = {};
        cpu_.pending_memory_exit = false;
        abort(VmxAbort::host_pdptes);
        return false;
    }
    if (pae) cpu_.paging_changed();
    if (load_msr_area(guest, "exit_msr_load_address"_f, "exit_msr_load_count"_f, to) != 0) {
        abort(VmxAbort::msr_load);
        return false;
    }
    return true;
}

bool Vmx::store_msr_area(const Vmcs& v, unsigned layer) {
    const u64 address = v["exit_msr_store_address"_f], count = v["exit_msr_store_count"_f];
    if (layer == 0) return store_msrs(cpu_, address, count);
    for (u64 i = 0; i < count; ++i)
        if (i == 512 || !store_msrs(cpu_, layers_[layer]->reach(address + 16 * i), 1)) return false;
    return true;
}

u64 Vmx::load_msr_area(const Vmcs& v, Field address, Field count, unsigned layer) {
    if (layer == 0) return load_msrs(cpu_, v[address], v[count]);
    for (u64 i = 0; i < v[count]; ++i)
        if (i == 512 || load_msrs(cpu_, layers_[layer]->reach(v[address] + 16 * i), 1) != 0) return i + 1;
    return 0;
}

void Vmx::path_changed() {
    path_.clear();
    for (unsigned k = 0; k < level_; ++k) path_.push_back(layers_[k]->pointer);
}

}  // namespace droste
