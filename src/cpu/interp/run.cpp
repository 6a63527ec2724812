// SPDX-License-Identifier: Apache-2.0
// The run loop: fast path over chained blocks, one-instruction steps where exactness needs them.
#include "cpu/block/block_cache.h"
#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/interp/handlers.h"
#include "cpu/interrupts.h"
#include "cpu/jit/jit.h"

namespace droste {

namespace {
constexpr u32 shadow_bits = interruptibility_bits::sti | interruptibility_bits::mov_ss;

/// Without optimisation the compiler makes no tail calls: the fast path would grow the host stack.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
constexpr bool threaded = true;
#else
constexpr bool threaded = false;
#endif
}  // namespace

void leave_fast_path(Cpu& cpu, const Insn* in, Outcome outcome) {
    cpu.leave_at = in;
    cpu.leave_outcome = outcome;
}

void stale_block(Cpu& cpu, const Insn* in) {
    cpu.rip = cpu.insn_rip(*in);
    const auto executed = static_cast<i64>(in - cpu.block->insn);
    cpu.budget += cpu.block->n - executed;
    cpu.block = nullptr;
    cpu.leave_at = nullptr;
}

void chain_fast_path(Cpu& cpu, const Insn*) {
    if (!cpu.attention && !cpu.one_block) [[likely]] {
        const u64 linear = cpu.ea_base_cs() + cpu.rip;
        const Block* b = cpu.blocks->find_fast(cpu, linear);
        if (b != nullptr && cpu.budget >= b->n) [[likely]] {
            cpu.block = b;
            cpu.running = nullptr;
            cpu.gpr[slot_rip] = cpu.rip;
            cpu.budget -= b->n;
            return b->insn[0].h(cpu, &b->insn[0]);
        }
    }
    cpu.leave_at = nullptr;
    cpu.block = nullptr;
}

u64 Cpu::unretired_in_block() const {
    if (block == nullptr) return 0;
    return running != nullptr ? static_cast<u64>(block->n - (running - block->insn)) : 1;
}

void Cpu::finish_instruction(const Insn& in, Outcome outcome) {
    switch (outcome) {
    case Outcome::next: rip = next_rip(in); break;
    case Outcome::branch: case Outcome::halt: case Outcome::vm_exit: case Outcome::vm_exit_retired: break;
    case Outcome::again:
        rip = insn_rip(in);
        rep_rip = rip;
        rep_ticks = ticks();
        break;
    case Outcome::fault:
        if (!access_exited) rip = insn_rip(in);
        access_length = in.len;
        if (retry_stepped) {
            retry_stepped = false;
            step_one();
            break;
        }
        // Delivery takes time, so that a guest that only faults still reaches its deadlines.
        budget -= 1;
        skipped += 1;
        handle_failed_access();
        break;
    }
}

void Cpu::handle_failed_access() {
    if (access_exited) {
        access_exited = false;
    } else if (pending_memory_exit) {
        pending_memory_exit = false;
        hooks->memory_exit(memory_fault);
    } else {
        const Fault f = pending_fault;
        pending_fault = {};
        deliver(f);
    }
}

void Cpu::fetch_failed(const WalkFault& fault) {
    access_length = 0;
    memory_fault = fault;
    switch (fault.kind) {
    case WalkFault::Kind::page_fault: pending_fault = Fault::of(Vector::pf, fault.error_code); break;
    case WalkFault::Kind::non_canonical: pending_fault = Fault::of(Vector::gp, 0); break;
    default: pending_memory_exit = true; break;
    }
}

void Cpu::step_one() {
    const u32 shadow = interruptibility & shadow_bits;
    const bool tf = rflags & rflags_bits::tf;
    if ((mode & mode_bits::step) && check_instruction_breakpoints(*this)) return;
    Block* b = code_within_limit() ? blocks->find(*this, ea_base_cs() + rip) : nullptr;
    if (b == nullptr) {
        budget -= 1;
        skipped += 1;
        handle_failed_access();
        return;
    }
    gpr[slot_rip] = rip;
    const Insn in = b->insn[0];
    access_length = in.len;  // an access to the APIC-access page exits from within the body
    const Body body = blocks->body_of(in);
    // RF counts for this instruction; IRET may set it for the next one, a REP chunk keeps it.
    const u64 resume = rflags & rflags_bits::rf;
    rflags &= ~rflags_bits::rf;
    trap_suppressed = false;
    const u64 debug_before = pending_debug;
    const u64 next = next_rip(in);
    const Outcome outcome = body(*this, in);
    const bool retired = outcome != Outcome::fault && outcome != Outcome::vm_exit;
    if (retired) budget -= 1;
    if (outcome == Outcome::again || (outcome == Outcome::fault && !access_exited)) rflags |= resume;
    // Breakpoints of an instruction that did not retire are met again when it is restarted.
    if (outcome == Outcome::fault && !access_exited) pending_debug = debug_before;
    finish_instruction(in, outcome);
    if (outcome == Outcome::next || outcome == Outcome::branch || outcome == Outcome::again ||
        outcome == Outcome::halt) {
        interruptibility &= ~shadow;
        if (mode & mode_bits::step || tf) after_instruction_debug(*this, tf, rip != next);
        if (shadow != 0 || monitor_trap || pending_debug != 0) set_attention();
    }
}

void Cpu::walk_block(const Block& b, i64 limit) {
    block = &b;
    running = nullptr;
    gpr[slot_rip] = rip;
    budget -= b.n;
    for (i64 i = 0;; ++i) {
        const Insn& in = b.insn[i];
        if (i == limit || in.h == &stale_block) {
            rip = insn_rip(in);
            budget += b.n - i;
            block = nullptr;
            return;
        }
        const Outcome outcome = blocks->body_of(in)(*this, in);
        if (outcome == Outcome::next) continue;
        if (outcome == Outcome::branch) {
            block = nullptr;
            return;
        }
        const bool retired = outcome != Outcome::fault && outcome != Outcome::vm_exit;
        budget += b.n - i - (retired ? 1 : 0);
        block = nullptr;
        const Insn copy = in;
        finish_instruction(copy, outcome);
        return;
    }
}

Stop Cpu::run() {
    for (;;) {
        if (attention || stop_requested) {
            if (stop_requested) {
                stop_requested = false;
                return Stop::requested;
            }
            // The next event may be due before the first instruction of the handler of this one. Bounded, since an
            // interrupt source that is never quieted could go on for ever.
            for (unsigned n = 0; n < 16 && recognise_events(*this); ++n) {}
            if (stop_requested) continue;
        }
        if (shut_down) return Stop::shutdown;
        if (activity != Activity::active) return Stop::halted;
        if (budget <= 0) return Stop::deadline;
        if ((mode & mode_bits::step) || (interruptibility & shadow_bits) || (rflags & rflags_bits::rf)) {
            step_one();
            continue;
        }
        Block* b = code_within_limit() ? blocks->find(*this, ea_base_cs() + rip) : nullptr;
        if (b == nullptr) {
            budget -= 1;
            skipped += 1;
            handle_failed_access();
            continue;
        }
        if (!block_within_limit(*b)) {
            step_one();
            continue;
        }
        if (budget < b->n + (jit != nullptr ? Jit::reserve : 0) || !threaded) {
            walk_block(*b, budget < b->n ? budget : i64{b->n} + 1);
            continue;
        }
        if (jit != nullptr && jit->run(*this, *b)) continue;
        block = b;
        running = nullptr;
        gpr[slot_rip] = rip;
        budget -= b->n;
        b->insn[0].h(*this, &b->insn[0]);
        if (leave_at == nullptr) continue;  // a whole block, or a stale one: rip and budget are right
        const Outcome outcome = leave_outcome;
        const auto index = static_cast<i64>(leave_at - block->insn);
        const bool retired = outcome != Outcome::fault && outcome != Outcome::vm_exit;
        budget += block->n - index - (retired ? 1 : 0);
        block = nullptr;
        const Insn in = *leave_at;
        finish_instruction(in, outcome);
    }
}

}  // namespace droste
