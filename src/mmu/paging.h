// SPDX-License-Identifier: Apache-2.0
// What the page walks need to know, and what they report: controls, faults, translations.
#pragma once
#include <array>

#include "base/types.h"

namespace droste {

enum class PagingMode : u8 { none, bits32, pae, level4, level5 };

/// VM-execution controls that change translation in non-root operation, beside the EPTP. All off in root operation.
struct GuestPagingControls {
    bool mode_based_execute{};  ///< "mode-based execute control for EPT"
    bool sub_page_write{};      ///< "sub-page write permissions for EPT"
    bool paging_write{};        ///< "EPT paging-write control"
    bool verify_paging{};       ///< "guest-paging verification"
    bool hlat{};                ///< "enable HLAT"
    u8 hlat_prefix{};           ///< HLAT prefix size
    u64 hlatp{};                ///< HLAT pointer
    u64 sppt{};                 ///< sub-page-permission-table pointer
    /// The controls as a number: translations made under different ones are kept apart.
    constexpr u8 variant() const {
        return static_cast<u8>(mode_based_execute | sub_page_write << 1 | paging_write << 2 |
                               verify_paging << 3 | hlat << 4);
    }
    bool operator==(const GuestPagingControls&) const = default;
};

struct EptChain;

/// The registers and controls that translate linear addresses, gathered when one of them changes.
struct PagingControls {
    PagingMode mode = PagingMode::none;
    bool wp{}, nxe{}, smep{}, smap{}, pge{}, pse{}, pke{}, pks{}, page1gb{};
    bool lass{};  ///< enforced by the CPU before translation; first-level tables differ by it
    bool ac{};  ///< EFLAGS.AC: explicit supervisor accesses to user pages pass SMAP (Mmu::set_ac)
    u8 maxphyaddr = 46;
    u64 cr3{};
    std::array<u64, 4> pdpte{};
    u32 pkru{}, pkrs{};
    u16 pcid{};  ///< 0 unless CR4.PCIDE
    u16 vpid{};  ///< 0 in root operation or without "enable VPID"
    // second level
    bool ept{};
    bool ept_execute_only{};        ///< capability: R=0 X=1 is legal
    bool ept_1gb{};                 ///< capability: 1-GByte pages
    bool ept_advanced_exit_info{};  ///< capability: qualification bits 11:9 tell of the linear address
    u64 eptp{};                     ///< bits 5:3 walk length - 1, 6 A/D flags, 7 shadow stacks, 51:12 table
    GuestPagingControls guest{};
    /// Second-level translation in several steps; null when `eptp` alone does it. The last layer is that of `eptp`,
    /// `vpid` and `guest`. Its owner outlives its use and numbers it (Mmu::number_chain).
    const EptChain* chain = nullptr;
    u32 beneath = 0;                ///< number of the chain under the last layer
    u64 apic_access_page = ~0ull;   ///< machine-physical page given special treatment, or ~0
};

enum class Privilege : u8 { supervisor, user };
/// Explicit accesses honour EFLAGS.AC under SMAP; implicit ones (descriptor tables, TSS) never do.
enum class Intent : u8 { explicit_access, implicit_access };

namespace page_fault_bits {
inline constexpr u32 present = 1, write = 2, user = 4, reserved = 8, fetch = 16, protection_key = 32,
                     shadow_stack = 64, hlat = 128;
}

/// Why a translation failed.
struct WalkFault {
    enum class Kind : u8 {
        none,
        page_fault,
        ept_violation,
        ept_misconfiguration,
        pml_full,
        spp_miss,
        spp_misconfiguration,
        apic_access,  ///< a guest-physical access to the APIC-access page
        non_canonical
    } kind = Kind::none;
    u32 error_code{};  ///< page_fault: the #PF error code
    Linear linear{};
    GuestPhys guest_phys{};  ///< the EPT kinds
    u64 qualification{};     ///< EPT violation: exit qualification without the NMI-unblocking bit 12
    bool convertible{};      ///< EPT violation: the entry that decides does not suppress #VE
    u8 layer{};              ///< the EPT kinds: of the chain, the layer whose table decides
};

/// A finished translation of one 4-KByte page (a piece of a larger page, when that is what maps it).
struct Translation {
    u8* host{};              ///< host page, or null: memory-mapped I/O
    u64 machine_page{};      ///< machine-physical address of the page
    GuestPhys guest_page{};  ///< guest-physical address of the page (= machine without EPT)
    bool apic_access{};      ///< the page is the APIC-access page
    bool sub_page{};         ///< a write that only its 128-byte sub-page permits
};

/// Page-modification logging, done while a walk sets an EPT dirty flag. Implemented by vmx.
class DirtyLog {
public:
    virtual ~DirtyLog() = default;
    /// Logs `page`; false when the log is full (nothing was logged: the access must exit).
    virtual bool log(GuestPhys page) = 0;
    virtual bool full() const = 0;
};

}  // namespace droste
