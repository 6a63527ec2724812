// SPDX-License-Identifier: Apache-2.0
// Cpu: one logical processor: its state, the parts it is wired to, and what instruction bodies call.
#pragma once
#include <bit>
#include <cstring>
#include <memory>
#include <optional>

#include "base/archive.h"
#include "base/assert.h"
#include "base/bus.h"
#include "base/events.h"
#include "base/interrupt_controller.h"
#include "cpu/fault.h"
#include "cpu/features.h"
#include "cpu/insn.h"
#include "cpu/model.h"
#include "cpu/non_root.h"
#include "cpu/state.h"
#include "cpu/timing/costs.h"
#include "mmu/physical_memory.h"
#include "mmu/tlb.h"

namespace droste {

class Isa;
class BlockCache;
class Jit;
class MsrTable;
struct Decoded;

/// What a Cpu is wired to; all outlive it.
struct CpuParts {
    PhysicalMemory& memory;
    PortBus& ports;
    InterruptController& interrupts;
    EventQueue& events;
    const Isa& isa;
    const CpuModel& model;
    u64 master_hz = 2'000'000'000;
    bool clock_follows_cycles = false;  ///< timing.clock = "cycles"
    // several processors on one memory
    u32 processors = 1;                     ///< in the package, for CPUID
    std::shared_ptr<BlockCache> blocks{};   ///< of the first processor, for the others
    const TimeSource* machine_time = nullptr;  ///< the time of whatever happens now, on whichever processor
};

/// Why run() came back.
enum class Stop : u8 { deadline, halted, requested, shutdown /* triple fault in root */ };

/// A read-modify-write in progress: `p` is the operand in guest RAM, or `temp` when the slow path must write it.
template <class T> struct Rmw {
    T* p;
    T temp;
    u64 linear;
    u8 seg;
};

/// What translated code reads and writes all the time: directly before CpuState, a short displacement from the register
/// that points there.
struct alignas(64) EngineState {
    u64 page = 0;                 ///< linear address of the page that the running block lies in
    u64 target = 0;               ///< scratch
    u64 branch = 0;               ///< scratch
    u64 wanted = 0;               ///< number of the jump that asks to be linked
    CodeTargets::Entry* targets = nullptr;  ///< of the present fetch TLB and mode
    TlbClass* tlb = nullptr;      ///< first-level TLB of the present data class
    FetchTlb* fetch_tlb = nullptr;
};
static_assert(sizeof(EngineState) == 64);

struct Cpu final : EngineState, CpuState, TimeSource, EventWatcher, CpuPins {
    explicit Cpu(const CpuParts& parts);
    ~Cpu() override;
    /// Hot blocks are translated to host code from now on.
    void use_jit(std::shared_ptr<Jit> translator);

    // ---- wiring
    PhysicalMemory& memory;
    PortBus& ports;
    InterruptController& interrupts;
    EventQueue& events;
    const Isa& isa;
    const CpuModel& model;
    Mmu mmu;
    const u32 processors;
    std::shared_ptr<BlockCache> blocks;  ///< one for all processors of a memory
    std::shared_ptr<Jit> jit;         ///< null: the interpreter executes everything; one for all processors
    NonRootHooks* hooks = nullptr;    ///< set by vmx
    const MsrTable* msrs = nullptr;   ///< rows of cpu and vmx, joined by machine
    CostTable costs{};

    // ---- time: the budget counts down to the deadline
    i64 budget = 0;                   ///< master periods left to `deadline`, the running block already subtracted
    Time deadline = 0;
    Time skipped = 0;                 ///< of the elapsed time, what was not ticks: idle and charged cycles
    u64 model_cycles = 0;             ///< charged by the timing model (also when the clock follows ticks)
    const bool clock_follows_cycles;
    const Block* block = nullptr;     ///< running block (fast path and step), else null
    const Insn* running = nullptr;    ///< instruction of the block that needs now() in mid-block; null: the last one

    /// Guest time at the start of the present instruction.
    Time now() const override { return deadline - static_cast<u64>(budget) - unretired_in_block(); }
    /// Instructions retired so far.
    u64 ticks() const { return now() - skipped; }
    /// Modelled cycles so far: ticks and what the timing table charged, without idle time.
    u64 cycles() const { return ticks() + model_cycles; }
    void charge(CostEvent e) {
        if (const u32 c = costs[e]) charge_cycles(c);
    }
    void charge_cycles(u64 c) {
        model_cycles += c;
        if (clock_follows_cycles) {
            budget -= static_cast<i64>(c);
            skipped += c;
        }
    }
    void next_event_changed(Time when) override;
    /// Idle: advances guest time to `when` without ticks.
    void skip_to(Time when);
    u64 unretired_in_block() const;

    // ---- running (interp/run.cpp)
    Stop run();                       ///< until the deadline, a halt, or request_stop()
    /// Executes exactly one instruction (or delivers the fault it raised).
    void step_one();
    /// Executes `b` instruction by instruction, at most `limit` of them, with the fast path's accounting and order
    /// of events: before a deadline, and in builds without tail calls.
    void walk_block(const Block& b, i64 limit);
    /// What must happen after an instruction that did not simply continue; `in` is it.
    void finish_instruction(const Insn& in, Outcome outcome);
    void request_stop() { stop_requested = true; set_attention(); }
    /// PAUSE gives the rest of the processor's turn away: another processor may hold what it waits for.
    bool pause_ends_turn = false;
    bool turn_given_up = false;       ///< with Stop::requested; reset by who runs the turns
    void give_up_turn() {
        turn_given_up = true;
        request_stop();
    }
    /// Something came from outside, perhaps from another processor in its turn: a sleeping processor's time goes
    /// on to the present.
    void wake();
    /// Nothing happens until somebody calls wake().
    bool asleep() const { return activity != Activity::active && !attention; }
    // MONITOR and MWAIT: the line is watched from MONITOR until the end of the wait.
    void watch_line(u64 linear);
    void unwatch_line() {
        monitor_armed = false;
        if (line_watch_.set) stop_watching();
    }
    /// Something may have to be recognised at the next block boundary.
    void set_attention();
    bool attention = false;
    bool one_block = false;           ///< the fast path returns after a block, so that translated code gets its turn
    bool stop_requested = false;
    bool monitor_trap = false;        ///< set by vmx: step mode, attention after each instruction
    bool vmm_watches_bus_locks = false;  ///< set by vmx
    bool watch_bus_locks = false;     ///< locked_access() looks at every locked access; by watch_changed()
    /// "VMM bus-lock detection" or IA32_DEBUGCTL changed.
    void watch_changed();
    /// A supervisor shadow stack became busy, and its frame is not pushed yet (SDM "Shadow-Stack Updates").
    bool shadow_stack_prematurely_busy = false;
    bool shut_down = false;
    Outcome leave_outcome{};          ///< why the fast path ended
    const Insn* leave_at = nullptr;   ///< where; null: after a whole block, with rip set

    // ---- waiting in user mode (insns/wait.cpp)
    /// Ends UMWAIT and TPAUSE when their time has come.
    struct WaitEnd final : Event {
        explicit WaitEnd(Cpu& c) : cpu(c) {}
        void fire(Time now) override;
        Cpu& cpu;
    };
    WaitEnd wait_end{*this};

    // ---- pins
    void interrupt_pending_changed() override { wake(); }
    void nmi() override { nmi_pending = true; wake(); }
    void init() override { init_pending = true; wake(); }
    void sipi(u8 vector) override;

    // ---- reset and derived state (cpu.cpp)
    void reset();                     ///< power-up, SDM "Processor State After Reset"
    void init_reset();                ///< INIT
    /// Recomputes mode key, address bases, TLB class and paging controls. Call after any change of CR0, CR3, CR4,
    /// EFER, CPL, RFLAGS.VM/AC/TF, segment registers, DR7, PKRU, XCR0.
    void context_changed();
    void paging_changed();            ///< CR0.PG/WP, CR3, CR4, EFER, PKRU, VPID, EPTP: the part for the Mmu
    void segments_changed();          ///< segment registers, CPL, RFLAGS: the part for mode key and ea_base
    u32 mode = 0;                     ///< mode_bits
    u64 stack_mask = 0xFFFF;          ///< width of the stack pointer
    void select_targets();            ///< EngineState::targets follows fetch TLB and mode
    // second-level translation, set by vmx
    u16 current_vpid = 0;
    bool ept_enabled = false;
    u64 current_eptp = 0;
    GuestPagingControls guest_paging;
    const EptChain* ept_chain = nullptr;  ///< second-level translation in several steps; else null
    u32 ept_beneath = 0;                  ///< number of the chain under the last step
    u64 apic_access_page = ~0ull;
    bool ept_execute_only = true, ept_1gb = true, ept_advanced_exit_info = false;  ///< capabilities
    /// TSC seen by RDTSC in non-root operation: (tsc * multiplier >> 48) + offset; identity in root.
    u64 tsc_multiplier = 1ull << 48;
    u64 tsc_offset = 0;
    u64 read_tsc() const {
        const u64 t = now() + tsc_offset_host;
        return tsc_multiplier == 1ull << 48 ? t + tsc_offset
                                            : static_cast<u64>(u128(t) * tsc_multiplier >> 48) + tsc_offset;
    }

    /// Base that RIP is added to for fetching: 0 in 64-bit mode.
    u64 ea_base_cs() const { return code_base_; }
    /// False, with #GP(0) pending: RIP is beyond the limit of CS.
    bool code_within_limit();
    bool block_within_limit(const Block& b) const;

    // ---- modes
    bool protected_mode() const { return cr0 & cr0_bits::pe; }
    bool v86() const { return rflags & rflags_bits::vm; }
    bool real_or_v86() const { return !protected_mode() || v86(); }
    bool long_mode() const { return efer & efer_bits::lma; }
    bool code64() const { return (mode & mode_bits::code_mask) == mode_bits::code64; }
    unsigned iopl() const { return (rflags >> 12) & 3; }
    bool has(Feature f) const { return model.features.has(f); }

    // ---- flags
    u64 read_rflags() const { return rflags | flag_image::to_rflags(flags); }
    /// Sets all of RFLAGS as given (bit 1 forced); calls segments_changed() when TF, VM or AC changed.
    void write_rflags(u64 value);

    // ---- instruction pointer within a body
    u64 insn_rip(const Insn& in) const { return gpr[slot_rip] + in.offset; }
    u64 next_rip(const Insn& in) const { return rip_mask(gpr[slot_rip] + in.offset + in.len); }
    u64 rip_mask(u64 v) const { return code64() ? v : (v & 0xFFFFFFFF); }

    // ---- registers
    u8& gpr8(unsigned byte_offset) { return reinterpret_cast<u8*>(gpr.data())[byte_offset]; }
    template <class T> T reg(unsigned slot) {
        if constexpr (sizeof(T) == 1) return static_cast<T>(gpr8(slot));
        else return static_cast<T>(gpr[slot]);
    }
    /// Writes a register as instructions do: 32-bit writes clear the upper half, 8 and 16 bits keep the rest.
    template <class T> void set_reg(unsigned slot, T v) {
        if constexpr (sizeof(T) == 1) gpr8(slot) = static_cast<u8>(v);
        else if constexpr (sizeof(T) == 2) gpr[slot] = (gpr[slot] & ~0xFFFFull) | static_cast<u16>(v);
        else if constexpr (sizeof(T) == 4) gpr[slot] = static_cast<u32>(v);
        else gpr[slot] = static_cast<u64>(v);
    }
    u64& reg(Gpr r) { return gpr[static_cast<unsigned>(r)]; }
    Segment& segment(Seg s) { return seg[static_cast<unsigned>(s)]; }
    const Segment& segment(Seg s) const { return seg[static_cast<unsigned>(s)]; }

    // ---- addresses
    /// Effective address (offset within the segment) of the memory operand, cut to the address size.
    [[gnu::always_inline]] u64 effective(const Insn& in) const {
        const u64 a = gpr[in.base] + (gpr[in.index] << in.scale()) + static_cast<u64>(static_cast<i64>(in.disp));
        if (in.fl & insn_flags::cut) [[unlikely]] return a & (in.asz() == 0 ? 0xFFFF : 0xFFFFFFFF);
        return a;
    }

    // ---- memory, explicit accesses of the present CPL. All return false when the access did not happen:
    //      return failed() from the body. Alignment, size and page crossing are free.
    //      The hit is inlined and keeps its value in a register; all else is in functions of its own.
    template <class T> [[gnu::always_inline]] bool load(unsigned s, u64 linear, T& v) {
        const unsigned i = TlbClass::slot(linear);
        if (tlb->read_tag[i] + ((linear + sizeof(T) - 1) >> 12) == 0) [[likely]] {
            std::memcpy(&v, reinterpret_cast<const void*>(linear + tlb->addend[i]), sizeof(T));
            return true;
        }
        const Loaded<T> r = load_missed<T>(s, linear);
        if (r.ok) v = r.value;
        return r.ok;
    }
    template <class T> [[gnu::always_inline]] bool store(unsigned s, u64 linear, const T& v) {
        const unsigned i = TlbClass::slot(linear);
        if (tlb->write_tag[i] + ((linear + sizeof(T) - 1) >> 12) == 0) [[likely]] {
            std::memcpy(reinterpret_cast<void*>(linear + tlb->addend[i]), &v, sizeof(T));
            return true;
        }
        return store_missed<T>(s, linear, v);
    }
    /// Starts a read-modify-write: checks write permission first, then gives the operand. End with end_rmw().
    template <class T> [[gnu::always_inline]] bool begin_rmw(unsigned s, u64 linear, Rmw<T>& m) {
        const unsigned i = TlbClass::slot(linear);
        if (tlb->write_tag[i] + ((linear + sizeof(T) - 1) >> 12) == 0) [[likely]] {
            m.p = reinterpret_cast<T*>(linear + tlb->addend[i]);
            return true;
        }
        m.p = &m.temp;
        m.linear = linear;
        m.seg = static_cast<u8>(s);
        return rmw_load_slow(s, linear, &m.temp, sizeof(T));
    }
    /// Cannot fail after begin_rmw() succeeded, but for a VM exit of an APIC-access write; check it.
    template <class T> [[gnu::always_inline]] bool end_rmw(Rmw<T>& m) {
        if (m.p != &m.temp) [[likely]] return true;
        return store_slow(m.seg, m.linear, &m.temp, sizeof(T));
    }
    /// Linear address of the operand; false: limit or type check of a segment failed (only non-flat modes).
    [[gnu::always_inline]] bool operand(const Insn& in, unsigned size, Access access, u64& linear) {
        const u64 ea = effective(in);
        if (in.fl & insn_flags::segmented) [[unlikely]] return segmented(in.seg(), ea, size, access, linear);
        linear = ea_base[in.seg()] + ea;
        return true;
    }
    template <class T> [[gnu::always_inline]] bool load(const Insn& in, T& v) {
        if (!(in.fl & insn_flags::segmented)) [[likely]] {
            const u64 a = ea_base[in.seg()] + effective(in);
            const unsigned i = TlbClass::slot(a);
            if (tlb->read_tag[i] + ((a + sizeof(T) - 1) >> 12) == 0) [[likely]] {
                std::memcpy(&v, reinterpret_cast<const void*>(a + tlb->addend[i]), sizeof(T));
                return true;
            }
        }
        const Loaded<T> r = load_elsewhere<T>(in);
        if (r.ok) v = r.value;
        return r.ok;
    }
    template <class T> [[gnu::always_inline]] bool store(const Insn& in, const T& v) {
        if (T* p = writable<T>(in)) [[likely]] {
            std::memcpy(static_cast<void*>(p), &v, sizeof(T));
            return true;
        }
        return store_elsewhere<T>(in, v);
    }
    /// The memory operand itself when the first-level TLB lets it be written; else null: go through begin_rmw().
    template <class T> [[gnu::always_inline]] T* writable(const Insn& in) {
        if (in.fl & insn_flags::segmented) [[unlikely]] return nullptr;
        const u64 a = ea_base[in.seg()] + effective(in);
        const unsigned i = TlbClass::slot(a);
        if (tlb->write_tag[i] + ((a + sizeof(T) - 1) >> 12) != 0) [[unlikely]] return nullptr;
        return reinterpret_cast<T*>(a + tlb->addend[i]);
    }
    template <class T> [[gnu::always_inline]] bool begin_rmw(const Insn& in, Rmw<T>& m) {
        u64 a;
        return operand(in, sizeof(T), Access::write, a) && begin_rmw(in.seg(), a, m);
    }
    /// Offset `ea` in segment `s` to linear, with all checks, for string instructions, stack and far pointers.
    bool linear_of(unsigned s, u64 ea, unsigned size, Access access, u64& linear) {
        const bool checked = (mode & mode_bits::segmented) || (s >= static_cast<unsigned>(Seg::fs) && !code64());
        if (checked) [[unlikely]] return segmented(s, ea, size, access, linear);
        linear = ea_base[s] + ea;
        return true;
    }
    /// Limit, type and null checks; #GP(0) or #SS(0).
    bool segmented(unsigned s, u64 ea, unsigned size, Access access, u64& linear);
    /// After a locked access, when watch_bus_locks: tells the hooks of a bus lock.
    void locked_access(u64 linear, unsigned size);
    /// Probes that `size` bytes at `linear` can be written (both pages), without writing: "probe first, then commit".
    bool probe_write(unsigned s, u64 linear, unsigned size);
    bool probe_read(unsigned s, u64 linear, unsigned size);
    /// Host address of [linear, linear + size) within one page for a bulk operation, or null (not RAM, page-crossing,
    /// or a fault: then go element by element). Sees code writes for Access::write.
    u8* bulk(u64 linear, u64 size, Access access);

    // Stack with the present stack size; the pointer is committed by the caller's order: push() writes, then moves rSP.
    template <class T> bool push(T v) {
        const u64 sp = (reg(Gpr::rsp) - sizeof(T)) & stack_mask;
        u64 a;
        if (!linear_of(static_cast<unsigned>(Seg::ss), sp, sizeof(T), Access::write, a) ||
            !store(static_cast<unsigned>(Seg::ss), a, v))
            return false;
        set_sp(sp);
        return true;
    }
    template <class T> bool pop(T& v) {
        const u64 sp = reg(Gpr::rsp) & stack_mask;
        u64 a;
        if (!linear_of(static_cast<unsigned>(Seg::ss), sp, sizeof(T), Access::read, a) ||
            !load(static_cast<unsigned>(Seg::ss), a, v))
            return false;
        set_sp(sp + sizeof(T));
        return true;
    }
    /// Like any 32-bit result, a 32-bit stack pointer clears the upper half; one of 16 bits leaves the rest.
    void set_sp(u64 sp) {
        reg(Gpr::rsp) = stack_mask == 0xFFFF ? (reg(Gpr::rsp) & ~0xFFFFull) | (sp & 0xFFFF) : sp & stack_mask;
    }

    // ---- memory, implicit supervisor accesses: descriptor tables, TSS, IDT, stacks of a new privilege level
    template <class T> bool load_system(u64 linear, T& v) { return system_access(linear, &v, sizeof(T), Access::read); }
    template <class T> bool store_system(u64 linear, T v) { return system_access(linear, &v, sizeof(T), Access::write); }
    bool system_access(u64 linear, void* data, unsigned size, Access access);

    // ---- events
    Fault pending_fault{};            ///< with Outcome::fault
    bool pending_memory_exit = false; ///< with Outcome::fault: `memory_fault` is an EPT event instead of pending_fault
    WalkFault memory_fault{};
    bool access_exited = false;       ///< with Outcome::fault: a VM exit already happened (APIC-access page)
    u8 access_length = 0;             ///< length of the instruction whose access failed; 0: its own fetch, or event delivery
    /// With Outcome::fault: a device or the APIC-access page was met in the middle of a block. Nothing happened yet;
    /// the instruction is to be stepped, so that rip and now() are exact when it happens.
    bool retry_stepped = false;
    bool iteration_ends = false;      ///< set by vmx: a repetition stops after the present element
    Outcome raise(Fault f) {
        pending_fault = f;
        return Outcome::fault;
    }
    Outcome ud() { return raise(Fault::of(Vector::ud)); }
    Outcome gp0() { return raise(Fault::of(Vector::gp, 0)); }
    /// Translates the address of an instruction fetch. False: what failed waits, as after a failed access.
    bool translate_fetch(u64 linear, Translation& t);
    /// An instruction fetch failed: turns the walk's report into a pending fault or memory exit.
    void fetch_failed(const WalkFault& fault);
    /// Acts on what a failed access left: fault, memory exit, or an exit that already happened.
    void handle_failed_access();
    /// After a memory function returned false.
    Outcome failed() const { return Outcome::fault; }
    /// Delivers an exception with RIP = Cpu::rip as the saved instruction pointer (exceptions.cpp): intercepts, IDT,
    /// double and triple faults.
    void deliver(Fault fault);
    /// Delivers an external interrupt, NMI, or software interrupt; `v` describes it. Returns false when it raised a
    /// fault instead that was then delivered.
    bool deliver_event(const Vectoring& v);
    /// INT n, INT3, INTO, INT1 from a body.
    Outcome software_interrupt(const Insn& in, u8 vector, u8 type);
    FaultChain fault_chain{};         ///< of the last triple fault
    /// Triple fault: shutdown in root, exit in non-root.
    void triple_fault();
    /// Takes the VM exit of a closed gate.
    Outcome vm_exit(Gate gate, const Insn& in, u64 qualification = 0) {
        rip = insn_rip(in);
        hooks->exit_instruction(gate, in, qualification);
        return Outcome::vm_exit;
    }

    // ---- segmentation (segmentation.cpp)
    /// Loads ES, SS, DS, FS, GS as MOV and POP do, with all checks. False: pending_fault is set.
    bool load_segment(Seg s, u16 selector);
    /// Loads real-mode or V86 segment values without checks.
    void load_segment_real(Seg s, u16 selector);

    // ---- debug and NMI details of the instruction in progress
    u64 debug_cause = 0;              ///< with #DB: the DR6 bits (B0-B3, BD 13, BS 14, BT 15) of this event
    bool trap_suppressed = false;     ///< the instruction cleared TF itself (INT n, SYSCALL): no single-step trap
    bool iret_unblocked_nmi = false;  ///< IRET in progress removed blocking by NMI ("NMI unblocking due to IRET")

    bool init_blocked = false;        ///< VMX root operation: INIT stays pending; set by vmx
    /// Bits that VMX operation fixes to 1 (fixed0) and allows to be 1 (fixed1); set by vmx, neutral outside of it.
    u64 cr0_fixed0 = 0, cr0_fixed1 = ~0ull, cr4_fixed0 = 0, cr4_fixed1 = ~0ull;

    u64 rng_state = 0;                ///< of the deterministic RDRAND / RDSEED
    void visit_all(Archive& archive); ///< CpuState and what else of this object is guest-visible

private:
    template <class T> struct Loaded {
        T value;
        bool ok;
    };
    template <class T> [[gnu::noinline]] Loaded<T> load_missed(unsigned s, u64 linear) {
        Loaded<T> r{};
        r.ok = load_slow(s, linear, &r.value, sizeof(T));
        return r;
    }
    template <class T> [[gnu::noinline]] bool store_missed(unsigned s, u64 linear, T v) {
        return store_slow(s, linear, &v, sizeof(T));
    }
    template <class T> [[gnu::noinline]] Loaded<T> load_elsewhere(const Insn& in) {
        Loaded<T> r{};
        u64 a;
        if (!operand(in, sizeof(T), Access::read, a)) return r;
        const unsigned i = TlbClass::slot(a);
        if (tlb->read_tag[i] + ((a + sizeof(T) - 1) >> 12) == 0) {
            std::memcpy(&r.value, reinterpret_cast<const void*>(a + tlb->addend[i]), sizeof(T));
            r.ok = true;
            return r;
        }
        running = &in;
        r.ok = load_slow(in.seg(), a, &r.value, sizeof(T));
        return r;
    }
    template <class T> [[gnu::noinline]] bool store_elsewhere(const Insn& in, T v) {
        u64 a;
        if (!operand(in, sizeof(T), Access::write, a)) return false;
        const unsigned i = TlbClass::slot(a);
        if (tlb->write_tag[i] + ((a + sizeof(T) - 1) >> 12) == 0) {
            std::memcpy(reinterpret_cast<void*>(a + tlb->addend[i]), &v, sizeof(T));
            return true;
        }
        running = &in;
        return store_slow(in.seg(), a, &v, sizeof(T));
    }
    /// Ends a wait when another processor or a device writes to the monitored line.
    struct LineWatch final : LineWatcher {
        explicit LineWatch(Cpu& c) : cpu(c) {}
        void line_written() override;
        Cpu& cpu;
        bool set = false;
    };
    void stop_watching();
    LineWatch line_watch_{*this};
    const TimeSource* const machine_time_;
    u64 code_base_ = 0;
    bool load_slow(unsigned s, u64 linear, void* v, unsigned size);
    bool store_slow(unsigned s, u64 linear, const void* v, unsigned size);
    bool rmw_load_slow(unsigned s, u64 linear, void* v, unsigned size);
};

}  // namespace droste
