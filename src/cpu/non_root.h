// SPDX-License-Identifier: Apache-2.0
// NonRootHooks: what the CPU asks VMX while in non-root operation. Declared here, implemented in vmx.
#pragma once
#include <optional>

#include "base/types.h"
#include "cpu/fault.h"
#include "cpu/gates.h"
#include "cpu/insn.h"
#include "mmu/paging.h"

namespace droste {

/// What became of an access that VMX may intercept or virtualize.
struct Decision {
    enum class Kind : u8 {
        proceed,  ///< do it natively, with `value` where one is written
        done,     ///< virtualized: completed; reads give `value`
        exited,   ///< a VM exit happened: return Outcome::vm_exit
        fault,    ///< raise #GP(0)
    } kind = Kind::proceed;
    u64 value = 0;
};

/// Details of port I/O for the exit qualification and the INS/OUTS instruction information.
struct IoAccess {
    u16 port{};
    u8 size{};
    bool in{}, string{}, rep{}, immediate{};
    u8 segment{};         ///< OUTS: segment register
    u8 address_size{};    ///< log2(bytes) - 1 as in the instruction information: 0 = 16 bits, 1 = 32, 2 = 64
    u64 linear{};         ///< string forms: linear address of the operand
};

/// Called only in non-root operation, by the bodies and by event delivery. On entry Cpu::rip is the address of the
/// current instruction; `in` gives its length and operands.
class NonRootHooks {
public:
    virtual ~NonRootHooks() = default;
    /// Unconditional or gated exit of an instruction; performs it. `qualification` as the SDM defines for that exit;
    /// instruction information is computed from `in`.
    virtual void exit_instruction(Gate gate, const Insn& in, u64 qualification) = 0;
    /// MOV to CR0/CR3/CR4/CR8, CLTS, LMSW: masks, shadows, targets. proceed: write `value`.
    virtual Decision write_cr(unsigned cr, u64 value, const Insn& in) = 0;
    virtual Decision clts(const Insn& in) = 0;
    /// `source`: the 16-bit operand. `linear` is its address for memory forms.
    virtual Decision lmsw(u16 source, const Insn& in, u64 linear) = 0;
    /// MOV from CR0/CR4 (and SMSW): the value with the read shadow applied. No exit.
    virtual u64 shadowed_cr(unsigned cr, u64 value) const = 0;
    /// MOV from CR3, CR8: exit, or TPR shadow (done).
    virtual Decision read_cr(unsigned cr, const Insn& in) = 0;
    virtual Decision io(const IoAccess& access, const Insn& in) = 0;
    virtual Decision read_msr(u32 index, const Insn& in) = 0;
    virtual Decision write_msr(u32 index, u64 value, const Insn& in) = 0;
    /// PAUSE with "PAUSE exiting" or PAUSE-loop exiting. True: exited.
    virtual bool pause(const Insn& in) = 0;
    /// MWAIT that masked interrupts would end, while they are masked. True: it does not wait.
    virtual bool passes_masked_mwait() { return false; }
    /// XSAVES/XRSTORS: true when XSS-exiting bitmap & mask made it exit.
    virtual bool xsaves(u64 mask, bool restore, const Insn& in) = 0;
    /// RDMSRLIST and WRMSRLIST, before each MSR: MSR bitmaps and virtualized MSRs.
    virtual Decision msr_list(bool, u32, u64, const Insn&) { return {}; }
    /// SENDUIPI is about to send a notification. True: it was virtualized or exited.
    virtual bool user_notification(u32, u8) { return false; }
    /// An exception is about to be delivered. `qualification`: CR2's value for #PF, the DR6 bits for #DB.
    /// `software`: INT3, INTO, INT1, with the length of their instruction in Cpu::vectoring. True: it caused an exit.
    virtual bool exception(Fault fault, u64 qualification, bool software) = 0;
    /// At an instruction boundary, before INIT: APIC-write emulation, and the exits that follow their instruction (TPR
    /// below threshold, APIC write, virtualized EOI). True: a VM exit happened.
    virtual bool before_init() = 0;
    /// Before debug traps are delivered: the monitor trap flag. True: a VM exit happened.
    virtual bool before_debug_traps() = 0;
    /// After them, in the order of SDM "Priority Among Concurrent Events": VMX-preemption timer, NMI window, NMI,
    /// interrupt window, external interrupt, posted and virtual interrupts. True: an exit happened or a virtual
    /// interrupt was delivered. NMIs and interrupts that do not exit are left to the CPU.
    virtual bool after_debug_traps(bool nmi_pending, bool interrupt_pending) = 0;
    /// INIT arrived: exits unless the activity state is wait-for-SIPI.
    virtual void init_signal() = 0;
    virtual void sipi(u8 vector) = 0;
    /// Task switch: always exits. `source`: 0 CALL, 1 IRET, 2 JMP, 3 task gate in IDT.
    virtual void task_switch(u16 selector, unsigned source, u32 instruction_length) = 0;
    virtual void triple_fault() = 0;
    /// A locked access crossed a cache line or went to uncacheable memory. Only with Cpu::watch_bus_locks.
    virtual void bus_locked() {}
    /// Event delivery meets one benign exception after the other and will not come to an instruction boundary.
    /// True: an exit happened.
    virtual bool no_instruction_boundary() { return false; }
    /// EPT violation, misconfiguration or full page-modification log met by an access of the current instruction or
    /// of event delivery.
    virtual void memory_exit(const WalkFault& fault) = 0;
    /// Access to the APIC-access page. `value` is written for writes; reads return it.
    virtual Decision apic_access(u64 offset, Access access, Width width, u64 value, GuestPhys address) = 0;
};

}  // namespace droste
