// SPDX-License-Identifier: Apache-2.0
// Construction, reset, and the state that is derived from control registers and segments.
#include "cpu/cpu.h"

#include "cpu/block/block_cache.h"
#include "cpu/cet.h"
#include "cpu/debug.h"
#include "cpu/interrupts.h"
#include "cpu/linear_address.h"
#include "cpu/jit/jit.h"

namespace droste {

Cpu::Cpu(const CpuParts& parts)
    : TimeSource(parts.master_hz), memory(parts.memory), ports(parts.ports), interrupts(parts.interrupts),
      events(parts.events), isa(parts.isa), model(parts.model), mmu(parts.memory), processors(parts.processors),
      blocks(parts.blocks != nullptr ? parts.blocks
                                     : std::make_shared<BlockCache>(parts.isa, parts.model, parts.memory)),
      clock_follows_cycles(parts.clock_follows_cycles), machine_time_(parts.machine_time) {
    blocks->attach(mmu);
    events.watch(*this);
    next_event_changed(events.next());
    reset();
}

Cpu::~Cpu() {
    events.cancel(wait_end);
    stop_watching();
    blocks->detach(mmu);
    if (jit != nullptr) jit->detach(*this);
    if (jit.use_count() == 1) blocks->set_jit(nullptr);
}

void Cpu::use_jit(std::shared_ptr<Jit> translator) {
    jit = std::move(translator);
    one_block = true;
    blocks->set_jit(jit.get());
    jit->attach(*this);
    select_targets();
}

void Cpu::select_targets() {
    if (jit != nullptr) targets = jit->targets_of(*fetch_tlb, mode);
}

void Cpu::next_event_changed(Time when) {
    // A deadline far away is cut, so that the budget stays well within its type.
    const Time start = now();
    constexpr Time longest = 1ull << 40;
    const Time to = when > start && when - start > longest ? start + longest : when;
    budget += static_cast<i64>(to - deadline);
    deadline = to;
}

void Cpu::skip_to(Time when) {
    const Time start = now();
    if (when <= start) return;
    budget -= static_cast<i64>(when - start);
    skipped += when - start;
}

void Cpu::set_attention() { attention = true; }

void Cpu::wake() {
    if (activity != Activity::active && machine_time_ != nullptr) skip_to(machine_time_->now());
    set_attention();
}

// SDM "MONITOR": the line of a linear address, found by its physical address. A line that is no RAM triggers
// nothing.
void Cpu::watch_line(u64 linear) {
    stop_watching();
    linear = code64() ? without_metadata(*this, linear) : linear & 0xFFFFFFFF;
    Translation t;
    WalkFault fault;
    const Privilege p = cpl == 3 ? Privilege::user : Privilege::supervisor;
    monitor_address = ~0ull;
    if (mmu.translate_data(Linear(linear), Access::read, p, Intent::explicit_access, t, fault) &&
        t.host != nullptr && !t.apic_access) {
        monitor_address = t.machine_page | (linear & 0xFFF);
        line_watch_.set = true;
        blocks->forbid_fast_writes(t.machine_page);
        memory.watch_line(monitor_address, line_watch_);
    }
    monitor_armed = true;
}

void Cpu::stop_watching() {
    if (!line_watch_.set) return;
    line_watch_.set = false;
    memory.unwatch_line(line_watch_);
}

void Cpu::LineWatch::line_written() {
    set = false;
    cpu.monitor_armed = false;
    if (cpu.activity != Activity::mwait) return;
    cpu.wake();
    cpu.activity = Activity::active;
}

void Cpu::write_rflags(u64 value) {
    using namespace rflags_bits;
    const u64 before = rflags;
    flags = flag_image::from_rflags(value);
    rflags = (value & ~arithmetic) | fixed1;
    if ((before ^ rflags) & (tf | vm | ac)) segments_changed();
    if (rflags & ~before & if_) set_attention();
}

void Cpu::reset() {
    unwatch_line();
    static_cast<CpuState&>(*this) = CpuState{};
    cr0 = 0x60000010;
    rip = 0xFFF0;
    const auto usable = [](u16 selector, u64 base, u32 limit, u32 access) {
        return Segment{.selector = selector, .limit = limit, .access = access, .base = base};
    };
    for (Segment& s : seg) s = usable(0, 0, 0xFFFF, 0x93);
    segment(Seg::cs) = usable(0xF000, 0xFFFF0000, 0xFFFF, 0x9B);
    segment(Seg::ldtr) = usable(0, 0, 0xFFFF, 0x82);
    segment(Seg::tr) = usable(0, 0, 0xFFFF, 0x8B);
    gdtr = idtr = {0, 0xFFFF};
    reg(Gpr::rdx) = (u64(model.family) << 8 | u64(model.model & 0xF) << 4 | u64(model.model >> 4) << 16 |
                     model.stepping);
    misc_enable = 1 | (1ull << 11) | (1ull << 12);
    if (has(Feature::monitor)) misc_enable |= 1 << 18;
    tsc_multiplier = 1ull << 48;
    tsc_offset = 0;
    tsc_offset_host = 0 - now();
    current_vpid = 0;
    ept_enabled = false;
    guest_paging = {};
    ept_chain = nullptr;
    ept_beneath = 0;
    apic_access_page = ~0ull;
    monitor_trap = false;
    shut_down = false;
    pending_memory_exit = access_exited = false;
    events.cancel(wait_end);
    mmu.flush_all();
    context_changed();
    set_attention();
}

void Cpu::init_reset() {
    // INIT keeps caches, MTRRs, FPU and vector state, MSRs and the TSC (SDM Table "IA-32 and Intel 64 Processor States
    // Following Power-up, Reset, or INIT").
    const CpuState before = *this;
    const u64 offset = tsc_offset_host;
    reset();
    fx = before.fx;
    vec = before.vec;
    opmask = before.opmask;
    amx = before.amx;
    xcr0 = before.xcr0;
    xss = before.xss;
    cr0 = 0x10 | (before.cr0 & (cr0_bits::cd | cr0_bits::nw));
    star = before.star; lstar = before.lstar; cstar = before.cstar; fmask = before.fmask;
    kernel_gs_base = before.kernel_gs_base; tsc_aux = before.tsc_aux;
    sysenter_cs = before.sysenter_cs; sysenter_esp = before.sysenter_esp; sysenter_eip = before.sysenter_eip;
    pat = before.pat; misc_enable = before.misc_enable; tsc_adjust = before.tsc_adjust;
    feature_control = before.feature_control; spec_ctrl = before.spec_ctrl;
    machine_msrs = before.machine_msrs;
    umwait_control = before.umwait_control;
    tsc_offset_host = offset;
    context_changed();
}

// Called in the sender's turn. An INIT that was sent before is recognised first, as it would have been by now.
void Cpu::sipi(u8 vector) {
    wake();
    if (init_pending) recognise_init(*this);
    if (non_root) {
        hooks->sipi(vector);
        return;
    }
    if (activity != Activity::wait_for_sipi) return;
    Segment& cs = segment(Seg::cs);
    cs.selector = static_cast<u16>(vector << 8);
    cs.base = u64(vector) << 12;
    rip = 0;
    activity = Activity::active;
    segments_changed();
    set_attention();
}

void Cpu::context_changed() {
    segments_changed();
    paging_changed();
    watch_changed();
}

void Cpu::watch_changed() { watch_bus_locks = vmm_watches_bus_locks || (debugctl & debugctl_bits::bus_lock); }

namespace {

/// Base 0, limit 4 GiB, usable, ordinary: accesses need no checks in 32-bit code.
bool flat_data(const Segment& s) {
    return s.base == 0 && s.limit == 0xFFFFFFFF && !s.unusable() && s.present() && (s.type() & 0xA) == 2;
}
bool flat_code(const Segment& s) { return s.base == 0 && s.limit == 0xFFFFFFFF && (s.type() & 8); }

}  // namespace

void Cpu::segments_changed() {
    const Segment& cs = segment(Seg::cs);
    const Segment& ss = segment(Seg::ss);
    const bool is64 = long_mode() && cs.l() && !v86();
    u32 m = is64 ? mode_bits::code64 : cs.db() ? mode_bits::code32 : mode_bits::code16;
    if (is64 || ss.db()) m |= mode_bits::stack32;
    if (!is64 && (real_or_v86() || !flat_code(cs) || !flat_data(ss) || !flat_data(segment(Seg::ds)) ||
                  !flat_data(segment(Seg::es))))
        m |= mode_bits::segmented;
    if (real_or_v86()) m |= mode_bits::real;
    if (cpl == 3) m |= mode_bits::user;
    // A data breakpoint traps after its instruction, so blocks are stepped with either kind.
    const bool breakpoints = dr7 & dr7_bits::enables;
    const bool data_breakpoints = breakpoints && data_breakpoints_enabled(dr7);
    const bool stepped_breakpoints = data_breakpoints || (breakpoints && instruction_breakpoints_enabled(dr7));
    if ((rflags & rflags_bits::tf) || stepped_breakpoints || monitor_trap) m |= mode_bits::step;
    if (cr4 & (cr4_bits::cet | cr4_bits::uintr)) [[unlikely]] {
        const u64 control = cet_now(*this, cpl);
        if (control & (cet_bits::sh_stk_en | cet_bits::endbr_en)) m |= mode_bits::cet;
        if ((control & cet_bits::endbr_en) && (control & cet_bits::tracker)) m |= mode_bits::endbranch;
        if ((cr4 & cr4_bits::uintr) && uintr.rr != 0 && cpl == 3) set_attention();
    }
    mode = m;
    if (m & mode_bits::step) set_attention();  // leaves the fast path, which would run whole blocks
    stack_mask = is64 ? ~0ull : ss.db() ? 0xFFFFFFFF : 0xFFFF;
    for (unsigned i = 0; i < 6; ++i) ea_base[i] = is64 && i < 4 ? 0 : seg[i].base;
    code_base_ = is64 ? 0 : cs.base;
    // data class
    const bool ac = rflags & rflags_bits::ac;
    const bool alignment_checked = cpl == 3 && ac && (cr0 & cr0_bits::am);
    const DataClass c = data_breakpoints || alignment_checked ? DataClass::none
                        : cpl == 3                            ? DataClass::user
                        : ac                                  ? DataClass::supervisor_ac
                                                              : DataClass::supervisor;
    tlb = &mmu.data(c);
    fetch_tlb = &mmu.fetch(cpl == 3 ? Privilege::user : Privilege::supervisor);
    select_targets();
}

void Cpu::paging_changed() {
    PagingControls p;
    if (cr0 & cr0_bits::pg) {
        if (efer & efer_bits::lma) p.mode = (cr4 & cr4_bits::la57) ? PagingMode::level5 : PagingMode::level4;
        else p.mode = (cr4 & cr4_bits::pae) ? PagingMode::pae : PagingMode::bits32;
    }
    p.wp = cr0 & cr0_bits::wp;
    p.nxe = efer & efer_bits::nxe;
    p.smep = cr4 & cr4_bits::smep;
    p.smap = cr4 & cr4_bits::smap;
    p.pge = cr4 & cr4_bits::pge;
    p.pse = cr4 & cr4_bits::pse;
    p.pke = cr4 & cr4_bits::pke;
    p.pks = cr4 & cr4_bits::pks;
    p.lass = cr4 & cr4_bits::lass;
    p.page1gb = has(Feature::page1gb);
    p.maxphyaddr = model.maxphyaddr;
    p.cr3 = cr3;
    p.pdpte = pdpte;
    p.pkru = pkru;
    p.pkrs = pkrs;
    p.pcid = (cr4 & cr4_bits::pcide) ? static_cast<u16>(cr3 & 0xFFF) : u16{0};
    p.vpid = current_vpid;
    p.ept = ept_enabled;
    p.ept_execute_only = ept_execute_only;
    p.ept_1gb = ept_1gb;
    p.ept_advanced_exit_info = ept_advanced_exit_info;
    p.eptp = current_eptp;
    p.guest = guest_paging;
    p.chain = ept_chain;
    p.beneath = ept_beneath;
    p.apic_access_page = apic_access_page;
    mmu.set_controls(p);
    segments_changed();  // the first-level tables may be others now
}

bool Cpu::code_within_limit() {
    if (mode & mode_bits::code64) return true;
    if (rip <= segment(Seg::cs).limit) return true;
    pending_fault = Fault::of(Vector::gp, 0);
    return false;
}

bool Cpu::block_within_limit(const Block& b) const {
    return (mode & mode_bits::code64) || !(mode & mode_bits::segmented) ||
           rip + b.bytes - 1 <= segment(Seg::cs).limit;
}

void CpuState::visit(Archive& a) {
    a.section("cpu", 1);
    a.field("gpr", gpr);
    a.field("rip", rip);
    a.field("flags", flags);
    a.field("rflags", rflags);
    a.field("gates", gates);
    a.field("non_root", non_root);
    a.field("cpl", cpl);
    a.field("activity", activity);
    for (Segment& s : seg) {
        a.field("selector", s.selector);
        a.field("limit", s.limit);
        a.field("access", s.access);
        a.field("base", s.base);
    }
    for (TableRegister* t : {&gdtr, &idtr}) {
        a.field("base", t->base);
        a.field("limit", t->limit);
    }
    for (u64* v : {&cr0, &cr2, &cr3, &cr4, &efer, &xcr0, &xss, &dr6, &dr7, &star, &lstar, &cstar, &fmask,
                   &kernel_gs_base, &tsc_aux, &sysenter_cs, &sysenter_esp, &sysenter_eip, &pat, &debugctl, &spec_ctrl,
                   &misc_enable, &tsc_adjust, &feature_control, &perf_global_ctrl, &bndcfgs, &cet.u_cet, &cet.s_cet, &cet.ssp, &cet.ssp_table,
                   &uintr.rr, &uintr.handler, &uintr.stack_adjust, &uintr.misc, &uintr.pd, &uintr.tt, &fred.config,
                   &fred.stack_levels, &amx.xfd, &amx.xfd_err,
                   &tsc_offset_host, &pending_debug, &monitor_address})
        a.field("register", *v);
    a.field("pdpte", pdpte);
    a.field("dr", dr);
    a.field("pkru", pkru);
    a.field("pkrs", pkrs);
    a.field("interruptibility", interruptibility);
    a.field("nmi_pending", nmi_pending);
    a.field("init_pending", init_pending);
    a.field("monitor_armed", monitor_armed);
    a.field("mwait_wakes_masked", mwait_wakes_masked);
    a.field("rep_rip", rep_rip);
    a.field("rep_ticks", rep_ticks);
    a.field("mtrr_fixed", machine_msrs.mtrr_fixed);
    a.field("mtrr_variable", machine_msrs.mtrr_variable);
    a.field("mtrr_def_type", machine_msrs.mtrr_def_type);
    a.field("mcg_status", machine_msrs.mcg_status);
    a.field("mc", machine_msrs.mc);
    a.field("bios_sign_id", machine_msrs.bios_sign_id);
    a.field("vectoring_active", vectoring.active);
    a.field("fx", fx);
    a.field("vec", vec);
    a.field("opmask", opmask);
    a.field("pl_ssp", cet.pl_ssp);
    a.field("uif", uintr.uif);
    a.field("fred_rsp", fred.rsp);
    a.field("fred_ssp", fred.ssp);
    a.field("umwait_control", umwait_control);
    a.field("wait_until", wait_until);
    a.field("wait_limited", wait_limited);
    a.field("tile_config", amx.config);
    a.field("tile", amx.tile);
}

void Cpu::visit_all(Archive& a) {
    gpr[slot_zero] = 0;
    gpr[slot_rip] = 0;  // scratch between blocks
    CpuState::visit(a);
    a.section("cpu time", 1);
    Time t = now();
    a.field("now", t);
    a.field("skipped", skipped);
    a.field("model_cycles", model_cycles);
    a.field("rng_state", rng_state);
    if (a.mode() == Archive::Mode::load) {
        if (line_watch_.set) stop_watching();
        if ((monitor_armed || activity == Activity::mwait) && memory.host(monitor_address) != nullptr) {
            line_watch_.set = true;
            memory.watch_line(monitor_address, line_watch_);
        }
        deadline = t;
        budget = 0;
        next_event_changed(events.next());
        mmu.flush_all();
        context_changed();
        set_attention();
        events.schedule(wait_end, wait_until);
    }
}

}  // namespace droste
