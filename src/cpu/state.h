// SPDX-License-Identifier: Apache-2.0
// CpuState: the architectural state of a logical processor as plain data, hot fields first.
#pragma once
#include <array>
#include <cstddef>

#include "base/types.h"
#include "cpu/gates.h"

namespace droste {

class Archive;

enum class Gpr : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
/// Slots beyond the registers, so that every address is gpr[base] + (gpr[index] << scale) + disp.
inline constexpr unsigned slot_zero = 16;  ///< always 0
inline constexpr unsigned slot_rip = 17;   ///< RIP of the first instruction of the current block

enum class Seg : u8 { es, cs, ss, ds, fs, gs, ldtr, tr };
inline constexpr unsigned seg_none = 7;  ///< index in ea_base that holds 0 (TR is never an address base)

/// A segment register with its hidden part. `access` has the layout of the VMCS access-rights fields
/// (type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16).
struct Segment {
    u16 selector{};
    u32 limit{};   ///< in bytes, scaled by G
    u32 access{};
    u64 base{};
    static constexpr u32 unusable_bit = 1u << 16;
    constexpr unsigned type() const { return access & 0xF; }
    constexpr bool system() const { return !(access & 0x10); }
    constexpr unsigned dpl() const { return (access >> 5) & 3; }
    constexpr bool present() const { return access & 0x80; }
    constexpr bool l() const { return access & 0x2000; }
    constexpr bool db() const { return access & 0x4000; }
    constexpr bool g() const { return access & 0x8000; }
    constexpr bool unusable() const { return access & unusable_bit; }
};

struct TableRegister { u64 base{}; u32 limit{}; };

/// Bits of RFLAGS.
namespace rflags_bits {
inline constexpr u64 cf = 1, pf = 4, af = 0x10, zf = 0x40, sf = 0x80, tf = 0x100, if_ = 0x200, df = 0x400, of = 0x800,
                     iopl = 0x3000, nt = 0x4000, rf = 0x10000, vm = 0x20000, ac = 0x40000, vif = 0x80000,
                     vip = 0x100000, id = 0x200000, fixed1 = 2;
inline constexpr u64 arithmetic = cf | pf | af | zf | sf | of;
}  // namespace rflags_bits

namespace cr0_bits {
inline constexpr u64 pe = 1, mp = 2, em = 4, ts = 8, et = 0x10, ne = 0x20, wp = 0x10000, am = 0x40000,
                     nw = 0x20000000, cd = 0x40000000, pg = 0x80000000;
}
namespace cr4_bits {
inline constexpr u64 vme = 1, pvi = 2, tsd = 4, de = 8, pse = 0x10, pae = 0x20, mce = 0x40, pge = 0x80, pce = 0x100,
                     osfxsr = 0x200, osxmmexcpt = 0x400, umip = 0x800, la57 = 0x1000, vmxe = 0x2000, smxe = 0x4000,
                     fsgsbase = 0x10000, pcide = 0x20000, osxsave = 0x40000, smep = 0x100000, smap = 0x200000,
                     pke = 0x400000, cet = 0x800000, pks = 0x1000000, uintr = 0x2000000, lass = 0x8000000,
                     lam_sup = 0x10000000, fred = 1ull << 32;
}
namespace cr3_bits {
inline constexpr u64 lam_u57 = 1ull << 61, lam_u48 = 1ull << 62;
}
namespace efer_bits {
inline constexpr u64 sce = 1, lme = 0x100, lma = 0x400, nxe = 0x800;
}

/// Arithmetic flags as the host's LAHF (AH) and SETO (AL) give them, in one 16-bit image.
namespace flag_image {
inline constexpr u16 of = 0x0001, cf = 0x0100, pf = 0x0400, af = 0x1000, zf = 0x4000, sf = 0x8000;
inline constexpr u16 all = of | cf | pf | af | zf | sf;
constexpr u16 from_rflags(u64 f) {
    return static_cast<u16>(((f & 0xD5) << 8) | ((f >> 11) & 1) | 0x0200);
}
constexpr u64 to_rflags(u16 image) { return ((image >> 8) & 0xD5) | (u64(image & 1) << 11); }
}  // namespace flag_image

enum class Activity : u8 { active, hlt, shutdown, wait_for_sipi, mwait };

/// x87 and SSE state in the layout of the 512-byte FXSAVE64 area, so that the host can load it.
struct alignas(64) FxArea {
    u16 fcw{0x37F}; u16 fsw{}; u8 ftw{}; u8 reserved0{}; u16 fop{};
    u64 fip{}; u64 fdp{}; u32 mxcsr{0x1F80}; u32 mxcsr_mask{0xFFFF};
    std::array<std::array<u8, 16>, 8> st{};   ///< ST0..ST7 in stack order (FXSAVE's), MMX in physical order via TOP
    std::array<u8, 512 - 32 - 128> rest{};    ///< unused here: vector registers live in CpuState::vec
};
static_assert(sizeof(FxArea) == 512);

/// A vector register: room for 512 bits from the first day.
struct alignas(64) Vec { std::array<u64, 8> q{}; };

/// An event under delivery through the IDT; VM exits that happen meanwhile report it as IDT-vectoring information.
struct Vectoring {
    bool active{};
    u8 vector{};
    u8 type{};             ///< VMX interruption type: 0 external, 2 NMI, 3 hardware exception, 4 software interrupt,
                           ///< 5 privileged software exception (INT1), 6 software exception (INT3, INTO)
    bool has_code{};
    u32 code{};
    u32 instruction_length{};  ///< of the software event's instruction
    bool nested{};             ///< FRED: an exception met while another event was delivered
    bool has_data{};           ///< `data` is FRED's event data; else they follow from the event
    u64 data{};
    bool injected{};       ///< by VM entry
};

/// MSRs that no instruction but RDMSR and WRMSR looks at.
struct MachineMsrs {
    std::array<u64, 11> mtrr_fixed{};      ///< 250H, 258H, 259H, 268H..26FH
    std::array<u64, 20> mtrr_variable{};   ///< 200H..213H: base, mask
    u64 mtrr_def_type{};
    u64 mcg_status{};
    std::array<u64, 16> mc{};              ///< 400H..40FH: CTL, STATUS, ADDR, MISC of four banks
    u64 bios_sign_id{};
};

/// Shadow stacks and indirect-branch tracking (SDM "Control-flow Enforcement Technology (CET)").
struct CetState {
    u64 u_cet{}, s_cet{};
    u64 ssp{};
    std::array<u64, 4> pl_ssp{};  ///< IA32_PL0_SSP..IA32_PL3_SSP; FRED uses the first for its level 0
    u64 ssp_table{};              ///< IA32_INTERRUPT_SSP_TABLE_ADDR
};

/// User interrupts (SDM "User Interrupts").
struct UintrState {
    bool uif{};
    u64 rr{}, handler{}, stack_adjust{}, misc{}, pd{}, tt{};  ///< misc: UITTSZ 31:0, UINV 39:32
};

/// FRED's MSRs (Intel "Flexible Return and Event Delivery (FRED) Specification").
struct FredState {
    u64 config{}, stack_levels{};
    std::array<u64, 4> rsp{};  ///< IA32_FRED_RSP0..3
    std::array<u64, 4> ssp{};  ///< IA32_FRED_SSP1..3 in [1]..[3]; level 0 is IA32_PL0_SSP
};

/// AMX: tile configuration and data.
struct AmxState {
    alignas(64) std::array<u8, 64> config{};                  ///< as STTILECFG stores it
    alignas(64) std::array<std::array<u8, 1024>, 8> tile{};
    u64 xfd{}, xfd_err{};
};

struct CpuState {
    // hot
    std::array<u64, 18> gpr{};         ///< 16 registers, slot_zero, slot_rip
    u64 rip{};                         ///< valid between blocks and in slow bodies (see Cpu::insn_rip)
    u16 flags{0x0200};                 ///< arithmetic flags, flag_image layout
    u64 rflags{2};                     ///< the other flags; arithmetic bits are 0 here
    std::array<u64, 8> ea_base{};      ///< segment bases as addresses see them (0 for ES..DS in 64-bit mode)
    Gates gates{};
    bool non_root{};                   ///< in VMX non-root operation
    u8 cpl{};
    Activity activity{Activity::active};
    // cold
    std::array<Segment, 8> seg{};
    TableRegister gdtr{}, idtr{};
    u64 cr0{}, cr2{}, cr3{}, cr4{}, efer{}, xcr0{1}, xss{};
    std::array<u64, 4> pdpte{};        ///< the PDPTE registers of PAE paging
    std::array<u64, 4> dr{};
    u64 dr6{0xFFFF0FF0}, dr7{0x400};
    u32 pkru{}, pkrs{};
    u64 star{}, lstar{}, cstar{}, fmask{}, kernel_gs_base{}, tsc_aux{};
    u64 sysenter_cs{}, sysenter_esp{}, sysenter_eip{};
    u64 pat{0x0007040600070406}, debugctl{}, spec_ctrl{}, misc_enable{}, tsc_adjust{}, feature_control{};
    u64 perf_global_ctrl{}, bndcfgs{};
    u64 tsc_offset_host{};             ///< IA32_TSC = Time + this, before VMX offsetting
    Vectoring vectoring{};
    /// Blocking, in the layout of the VMCS interruptibility state: 1 STI, 2 MOV SS, 8 NMI.
    u32 interruptibility{};
    u64 pending_debug{};               ///< pending debug exceptions, VMCS layout (B0-B3, enabled 12, BS 14)
    bool nmi_pending{}, init_pending{};
    u64 monitor_address{}; bool monitor_armed{};
    u64 rep_rip{~0ull}, rep_ticks{};   ///< where and when the last unfinished chunk of a REP instruction ended
    bool mwait_wakes_masked{};         ///< MWAIT with ECX[0]: interrupts wake it although RFLAGS.IF is 0
    u64 wait_until{~0ull};             ///< UMWAIT, TPAUSE: time at which the wait ends; ~0: no such wait
    bool wait_limited{};               ///< ... by the limit of IA32_UMWAIT_CONTROL: CF will be 1
    MachineMsrs machine_msrs{};
    FxArea fx{};
    std::array<Vec, 32> vec{};         ///< XMM/YMM/ZMM 0..31
    alignas(64) std::array<u64, 8> opmask{};  ///< k0..k7
    u64 xinuse_hint{};
    CetState cet{};
    UintrState uintr{};
    FredState fred{};
    u32 umwait_control{};              ///< IA32_UMWAIT_CONTROL
    AmxState amx{};
    void visit(Archive& archive);
};
static_assert(offsetof(CpuState, gpr) == 0);

namespace interruptibility_bits {
inline constexpr u32 sti = 1, mov_ss = 2, smi = 4, nmi = 8;
}

}  // namespace droste
