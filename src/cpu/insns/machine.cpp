// SPDX-License-Identifier: Apache-2.0
// CPUID, time stamps, MSRs, port I/O, MONITOR and MWAIT, PAUSE, random numbers, fences and cache-line
// flushes.
#include "cpu/cpuid.h"
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"
#include "cpu/io.h"
#include "cpu/msr.h"
#include "cpu/segmentation.h"

namespace droste {

namespace {

u32 low32(u64 v) { return static_cast<u32>(v); }

void set_edx_eax(Cpu& cpu, u64 v) {
    cpu.reg(Gpr::rax) = low32(v);
    cpu.reg(Gpr::rdx) = v >> 32;
}

// ---- identification and time

Outcome cpuid_insn(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::cpuid)) return cpu.vm_exit(Gate::cpuid, in);
    constexpr u32 apic_base_msr = 0x1B;
    const u64 apic_base = cpu.interrupts.read_msr(apic_base_msr).value_or(0x900);
    const CpuidContext context{.cr4 = cpu.cr4,
                               .xcr0 = cpu.xcr0,
                               .xss = cpu.xss,
                               .apic_id = cpu.interrupts.id(),
                               .processors = cpu.processors,
                               .apic_enabled = bit(apic_base, 11),
                               .misc_enable = cpu.misc_enable};
    const u32 leaf = low32(cpu.reg(Gpr::rax));
    const CpuidResult r = cpuid(cpu.model, context, leaf, low32(cpu.reg(Gpr::rcx)));
    // SDM "Determining the Signature": CPUID leaf 1 loads IA32_BIOS_SIGN_ID.
    if (leaf == 1) cpu.machine_msrs.bios_sign_id = u64{cpu.model.microcode} << 32;
    cpu.reg(Gpr::rax) = r.eax;
    cpu.reg(Gpr::rbx) = r.ebx;
    cpu.reg(Gpr::rcx) = r.ecx;
    cpu.reg(Gpr::rdx) = r.edx;
    cpu.charge(CostEvent::cpuid);
    return Outcome::next;
}

bool tsc_forbidden(const Cpu& cpu) { return (cpu.cr4 & cr4_bits::tsd) && cpu.cpl != 0; }

Outcome rdtsc(Cpu& cpu, const Insn& in) {
    if (tsc_forbidden(cpu)) return cpu.gp0();
    if (cpu.gates.closed(Gate::rdtsc)) return cpu.vm_exit(Gate::rdtsc, in);
    cpu.running = &in;
    set_edx_eax(cpu, cpu.read_tsc());
    cpu.charge(CostEvent::rdtsc);
    return Outcome::next;
}

Outcome rdtscp(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::rdtscp_disabled)) return cpu.ud();
    if (tsc_forbidden(cpu)) return cpu.gp0();
    if (cpu.gates.closed(Gate::rdtsc)) return cpu.vm_exit(Gate::rdtsc, in);
    cpu.running = &in;
    set_edx_eax(cpu, cpu.read_tsc());
    cpu.reg(Gpr::rcx) = low32(cpu.tsc_aux);
    cpu.charge(CostEvent::rdtscp);
    return Outcome::next;
}

Outcome rdpid(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::rdtscp_disabled)) return cpu.ud();
    cpu.gpr[in.rm] = low32(cpu.tsc_aux);
    return Outcome::next;
}

Outcome rdpmc(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0 && cpu.protected_mode() && !(cpu.cr4 & cr4_bits::pce)) return cpu.gp0();
    if (cpu.gates.closed(Gate::rdpmc)) return cpu.vm_exit(Gate::rdpmc, in);
    return cpu.gp0();  // CPUID.0AH enumerates no counters
}

// ---- MSRs

Outcome rdmsr(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    const u32 index = low32(cpu.reg(Gpr::rcx));
    cpu.running = &in;
    if (cpu.gates.closed(Gate::msr)) {
        cpu.rip = cpu.insn_rip(in);
        const Decision d = cpu.hooks->read_msr(index, in);
        switch (d.kind) {
        case Decision::Kind::exited: return Outcome::vm_exit;
        case Decision::Kind::fault: return cpu.gp0();
        case Decision::Kind::done: set_edx_eax(cpu, d.value); return Outcome::next;
        case Decision::Kind::proceed: break;
        }
    }
    const std::optional<u64> value = cpu.msrs == nullptr ? std::nullopt : cpu.msrs->read(cpu, index);
    if (!value) return cpu.gp0();
    set_edx_eax(cpu, *value);
    cpu.charge(CostEvent::rdmsr);
    return Outcome::next;
}

Outcome wrmsr(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.gp0();
    const u32 index = low32(cpu.reg(Gpr::rcx));
    u64 value = (cpu.reg(Gpr::rdx) << 32) | low32(cpu.reg(Gpr::rax));
    const u64 next = cpu.next_rip(in);
    cpu.running = &in;
    if (cpu.gates.closed(Gate::msr)) {
        cpu.rip = cpu.insn_rip(in);
        const Decision d = cpu.hooks->write_msr(index, value, in);
        switch (d.kind) {
        case Decision::Kind::exited: return Outcome::vm_exit;
        case Decision::Kind::fault: return cpu.gp0();
        case Decision::Kind::done: return done_at(cpu, next);
        case Decision::Kind::proceed: value = d.value; break;
        }
    }
    if (cpu.msrs == nullptr || !cpu.msrs->write(cpu, index, value)) return cpu.gp0();
    cpu.charge(index >= 0x800 && index <= 0x8FF ? CostEvent::wrmsr_x2apic : CostEvent::wrmsr);
    return done_at(cpu, next);
}

// ---- port I/O

enum class PortOperand : u8 { immediate, dx };

template <PortOperand where> u16 port_of(const Cpu& cpu, const Insn& in) {
    return static_cast<u16>(where == PortOperand::immediate ? in.imm & 0xFF : cpu.gpr[2]);
}

/// Permission, then VMX. Outcome::next: go on with `value`.
Outcome ask_io(Cpu& cpu, const Insn& in, u16 port, unsigned size, bool input, bool immediate, Decision& d) {
    if (!io_permitted(cpu, port, size)) return cpu.failed();
    cpu.running = &in;
    if (!cpu.gates.closed(Gate::io)) return Outcome::next;
    cpu.rip = cpu.insn_rip(in);
    const IoAccess access{.port = port,
                          .size = static_cast<u8>(size),
                          .in = input,
                          .string = false,
                          .rep = false,
                          .immediate = immediate,
                          .segment = 0,
                          .address_size = static_cast<u8>(in.asz()),
                          .linear = 0};
    d = cpu.hooks->io(access, in);
    if (d.kind == Decision::Kind::exited) return Outcome::vm_exit;
    if (d.kind == Decision::Kind::fault) return cpu.gp0();
    return Outcome::next;
}

template <PortOperand where> Outcome in_port(Cpu& cpu, const Insn& in) {
    const u16 port = port_of<where>(cpu, in);
    const unsigned size = in.osz() == 0 ? 1 : in.osz() == 1 ? 2 : 4;
    const u64 next = cpu.next_rip(in);
    Decision d;
    const Outcome asked = ask_io(cpu, in, port, size, true, where == PortOperand::immediate, d);
    if (asked != Outcome::next) return asked;
    const u64 v = d.kind == Decision::Kind::done ? d.value : port_read(cpu, port, size);
    if (size == 1) cpu.set_reg<u8>(0, static_cast<u8>(v));
    else if (size == 2) cpu.set_reg<u16>(0, static_cast<u16>(v));
    else cpu.set_reg<u32>(0, low32(v));
    cpu.charge(CostEvent::port_io);
    return done_at(cpu, next);
}

template <PortOperand where> Outcome out_port(Cpu& cpu, const Insn& in) {
    const u16 port = port_of<where>(cpu, in);
    const unsigned size = in.osz() == 0 ? 1 : in.osz() == 1 ? 2 : 4;
    const u64 next = cpu.next_rip(in);
    Decision d;
    const Outcome asked = ask_io(cpu, in, port, size, false, where == PortOperand::immediate, d);
    if (asked != Outcome::next) return asked;
    if (d.kind != Decision::Kind::done) port_write(cpu, port, size, cpu.reg(Gpr::rax));
    cpu.charge(CostEvent::port_io);
    return done_at(cpu, next);
}

// ---- waiting

/// #UD at CPL > 0, and when IA32_MISC_ENABLE switches the instructions off.
bool waiting_undefined(const Cpu& cpu) {
    return cpu.cpl != 0 || !(cpu.misc_enable & misc_enable_bits::monitor);
}

Outcome monitor(Cpu& cpu, const Insn& in) {
    if (waiting_undefined(cpu)) return cpu.ud();
    if (cpu.gates.closed(Gate::monitor)) return cpu.vm_exit(Gate::monitor, in);
    if (low32(cpu.reg(Gpr::rcx)) != 0) return cpu.gp0();
    const u64 mask = in.asz() == 0 ? 0xFFFF : in.asz() == 1 ? 0xFFFFFFFF : ~0ull;
    u64 linear = 0;
    u8 probe = 0;
    if (!cpu.linear_of(in.seg(), cpu.reg(Gpr::rax) & mask, 1, Access::read, linear) ||
        !cpu.load(in.seg(), linear, probe))
        return cpu.failed();
    cpu.watch_line(linear);
    return Outcome::next;
}

Outcome mwait(Cpu& cpu, const Insn& in) {
    if (waiting_undefined(cpu)) return cpu.ud();
    if (cpu.gates.closed(Gate::mwait)) return cpu.vm_exit(Gate::mwait, in, cpu.monitor_armed ? 1 : 0);
    const u32 extensions = low32(cpu.reg(Gpr::rcx));
    if (extensions & ~1u) return cpu.gp0();
    // Without an armed monitor, or after a store to the line, MWAIT is NOP. The line stays watched during the
    // wait.
    if (!cpu.monitor_armed) return done(cpu, in);
    cpu.rip = cpu.next_rip(in);
    cpu.monitor_armed = false;
    const bool masked = (extensions & 1) && !(cpu.rflags & rflags_bits::if_);
    if (masked && cpu.non_root && cpu.hooks->passes_masked_mwait()) {
        cpu.unwatch_line();
        return Outcome::branch;
    }
    cpu.mwait_wakes_masked = extensions & 1;
    cpu.wait_until = never;
    cpu.activity = Activity::mwait;
    cpu.set_attention();
    return Outcome::halt;
}

Outcome pause(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::pause) || cpu.gates.closed(Gate::ple)) {
        cpu.rip = cpu.insn_rip(in);
        if (cpu.hooks->pause(in)) return Outcome::vm_exit;
    }
    cpu.charge(CostEvent::pause);
    if (cpu.pause_ends_turn) cpu.give_up_turn();
    return Outcome::next;
}

// ---- random numbers

/// splitmix64: a deterministic stream from the configured seed.
u64 next_random(Cpu& cpu) {
    u64 z = cpu.rng_state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

template <Gate gate> Outcome random(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(gate)) return cpu.vm_exit(gate, in);
    set_reg_sized(cpu, in, in.rm, next_random(cpu));
    set_arithmetic(cpu, rflags_bits::cf);
    cpu.charge(CostEvent::rdrand);
    return Outcome::next;
}

// ---- ordering and cache lines

Outcome fence(Cpu& cpu, const Insn&) {
    cpu.charge(CostEvent::fence);
    return Outcome::next;
}

Outcome serialize(Cpu& cpu, const Insn& in) {
    cpu.charge(CostEvent::serialize);
    return done(cpu, in);
}

Outcome flush_line(Cpu& cpu, const Insn& in) {
    // SDM "CLFLUSH": subject to all permission checks of a byte load.
    u8 probe = 0;
    if (!cpu.load(in, probe)) return cpu.failed();
    cpu.charge(CostEvent::clflush);
    return Outcome::next;
}

constexpr u32 system = traits::not_user_fuzzed;
constexpr u32 randoms = traits::not_user_fuzzed | traits::no_rep_prefix;
constexpr u32 io = traits::not_user_fuzzed | traits::ends_block;

constexpr InsnRow rows[] = {
    {"CPUID", "0F A2"_op, ""_operands, code<cpuid_insn>(), Feature::base, system},
    {"RDTSC", "0F 31"_op, ""_operands, code<rdtsc>(), Feature::tsc, system},
    {"RDTSCP", "0F 01 F9"_op, ""_operands, code<rdtscp>(), Feature::rdtscp, system},
    {"RDPID", "F3 0F C7 /7 reg"_op, "=Ry"_operands, code<rdpid>(), Feature::rdpid, system | traits::force64},
    {"RDPMC", "0F 33"_op, ""_operands, code<rdpmc>(), Feature::base, system},
    {"RDMSR", "0F 32"_op, ""_operands, code<rdmsr>(), Feature::msr, system | traits::privileged},
    {"WRMSR", "0F 30"_op, ""_operands, code<wrmsr>(), Feature::msr, io | traits::privileged},
    {"WRMSRNS", "NP 0F 01 C6"_op, ""_operands, code<wrmsr>(), Feature::wrmsrns, io | traits::privileged},
    {"IN", "E4 ib"_op, "=AL, Ib"_operands, code<in_port<PortOperand::immediate>>(), Feature::base, io},
    {"IN", "E5 ib"_op, "=rAX, Ib"_operands, code<in_port<PortOperand::immediate>>(), Feature::base, io},
    {"IN", "EC"_op, "=AL, DX"_operands, code<in_port<PortOperand::dx>>(), Feature::base, io},
    {"IN", "ED"_op, "=rAX, DX"_operands, code<in_port<PortOperand::dx>>(), Feature::base, io},
    {"OUT", "E6 ib"_op, "Ib, AL"_operands, code<out_port<PortOperand::immediate>>(), Feature::base, io},
    {"OUT", "E7 ib"_op, "Ib, rAX"_operands, code<out_port<PortOperand::immediate>>(), Feature::base, io},
    {"OUT", "EE"_op, "DX, AL"_operands, code<out_port<PortOperand::dx>>(), Feature::base, io},
    {"OUT", "EF"_op, "DX, rAX"_operands, code<out_port<PortOperand::dx>>(), Feature::base, io},
    {"MONITOR", "NP 0F 01 C8"_op, ""_operands, code<monitor>(), Feature::monitor, system},
    {"MWAIT", "NP 0F 01 C9"_op, ""_operands, code<mwait>(), Feature::monitor, io},
    {"PAUSE", "F3 90"_op, ""_operands, code<pause>(), Feature::base, system},
    {"RDRAND", "0F C7 /6 reg"_op, "=Rv"_operands, code<random<Gate::rdrand>>(), Feature::rdrand, randoms,
     "w:OSZAPC"_flags},
    {"RDSEED", "0F C7 /7 reg"_op, "=Rv"_operands, code<random<Gate::rdseed>>(), Feature::rdseed, randoms,
     "w:OSZAPC"_flags},
    {"LFENCE", "NP 0F AE /5 reg"_op, ""_operands, code<fence>(), Feature::sse2, system},
    {"MFENCE", "NP 0F AE /6 reg"_op, ""_operands, code<fence>(), Feature::sse2, system},
    {"SFENCE", "NP 0F AE /7 reg"_op, ""_operands, code<fence>(), Feature::sse, system},
    {"SERIALIZE", "NP 0F 01 E8"_op, ""_operands, code<serialize>(), Feature::serialize, io},
    {"CLFLUSH", "NP 0F AE /7 mem"_op, "Mb"_operands, code<flush_line>(), Feature::clfsh, system},
    {"CLFLUSHOPT", "66 0F AE /7 mem"_op, "Mb"_operands, code<flush_line>(), Feature::clflushopt, system},
    {"CLWB", "66 0F AE /6 mem"_op, "Mb"_operands, code<flush_line>(), Feature::clwb, system},
};

}  // namespace

RowSpan machine_rows() { return rows; }

}  // namespace droste
