// SPDX-License-Identifier: Apache-2.0
// WAITPKG: UMONITOR, UMWAIT, TPAUSE (SDM "TPAUSE-Timed PAUSE"): waits in user mode that end with the TSC.
#include "cpu/insns/operand_access.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"

namespace droste {

void Cpu::WaitEnd::fire(Time) {
    if (cpu.activity != Activity::mwait || cpu.wait_until == never)
        return;
    cpu.wait_until = never;
    cpu.wake();
    cpu.activity = Activity::active;
    cpu.unwatch_line();
    if (cpu.wait_limited)
        cpu.flags |= flag_image::cf;
}

namespace {

Outcome umonitor(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::wait_pause_disabled))
        return cpu.ud();
    u64 linear = 0;
    u8 probe = 0;
    if (!cpu.linear_of(in.seg(), cpu.gpr[in.rm] & address_mask(in.asz()), 1, Access::read, linear) ||
        !cpu.load(in.seg(), linear, probe))
        return cpu.failed();
    cpu.watch_line(linear);
    return Outcome::next;
}

/// The guest time at which the TSC as this code sees it has passed `deadline`; `never` when that is out of
/// reach.
Time time_of_tsc(const Cpu& cpu, u64 deadline) {
    const u64 seen = cpu.read_tsc();
    if (seen > deadline)
        return cpu.now();
    u128 left = u128(deadline - seen) + 1;
    // TSC scaling: the wait is as long as the scaled counter takes.
    if (cpu.tsc_multiplier == 0)
        return never;
    if (cpu.tsc_multiplier != 1ull << 48)
        left = ((left << 48) + cpu.tsc_multiplier - 1) / cpu.tsc_multiplier;
    return left >= never - cpu.now() ? never : cpu.now() + static_cast<Time>(left);
}

enum class Wait : u8 { monitored, timed };

template <Wait kind> Outcome wait(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::wait_pause_disabled))
        return cpu.ud();
    if ((cpu.cr4 & cr4_bits::tsd) && cpu.cpl != 0)
        return cpu.gp0();
    if (cpu.gates.closed(Gate::rdtsc))
        return cpu.vm_exit(Gate::rdtsc, in);
    if (static_cast<u32>(cpu.gpr[in.rm]) & ~1u)
        return cpu.gp0();
    set_arithmetic(cpu, 0);
    if (kind == Wait::monitored && !cpu.monitor_armed)
        return done(cpu, in);
    const u64 deadline = (cpu.reg(Gpr::rdx) << 32) | static_cast<u32>(cpu.reg(Gpr::rax));
    Time until = time_of_tsc(cpu, deadline);
    const u64 most = cpu.umwait_control & ~3u;
    const bool limited = most != 0 && (until == never || until - cpu.now() > most);
    if (limited)
        until = cpu.now() + most;
    cpu.rip = cpu.next_rip(in);
    if (kind == Wait::timed)
        cpu.unwatch_line();  // stores do not end it
    cpu.monitor_armed = false;
    // The instruction itself takes a tick.
    if (until <= cpu.now() + 1) {
        cpu.unwatch_line();
        return Outcome::branch;
    }
    cpu.wait_until = until;
    cpu.wait_limited = limited;
    cpu.mwait_wakes_masked = true;
    cpu.activity = Activity::mwait;
    cpu.events.schedule(cpu.wait_end, until);
    cpu.set_attention();
    return Outcome::halt;
}

constexpr u32 system = traits::not_user_fuzzed;
constexpr u32 waits = traits::not_user_fuzzed | traits::ends_block;

constexpr InsnRow rows[] = {
    {"UMONITOR", "F3 0F AE /6 reg"_op, "Ry"_operands, code<umonitor>(), Feature::waitpkg, system},
    {"UMWAIT", "F2 0F AE /6 reg"_op, "Rd"_operands, code<wait<Wait::monitored>>(), Feature::waitpkg, waits,
     "w:OSZAPC"_flags},
    {"TPAUSE", "66 0F AE /6 reg"_op, "Rd"_operands, code<wait<Wait::timed>>(), Feature::waitpkg, waits,
     "w:OSZAPC"_flags},
};

}  // namespace

RowSpan wait_rows() {
    return rows;
}

}  // namespace droste
