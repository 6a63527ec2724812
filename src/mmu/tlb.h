// SPDX-License-Identifier: Apache-2.0
// The soft TLB: a direct-mapped first level probed by every engine, a tagged second level behind it.
#pragma once
#include <array>
#include <memory>

#include "base/types.h"
#include "mmu/code_targets.h"
#include "mmu/paging.h"
#include "mmu/physical_memory.h"

namespace droste {

/// First level for one class of accesses. A tag is -(linear >> 12), so that adding the page number of the
/// access's LAST byte gives 0 on a hit: an access that crosses a page misses by itself. Host address = linear
/// + addend.
struct TlbClass {
    static constexpr unsigned size = 1024;
    static constexpr u64 no_tag = 1ull << 62;  ///< matches no page number
    alignas(64) std::array<u64, size> read_tag, write_tag, addend;
    static unsigned slot(u64 linear) { return (linear >> 12) & (size - 1); }
};

/// First level for instruction fetch.
struct FetchTlb {
    static constexpr unsigned size = CodeTargets::pages;
    struct Entry {
        u64 tag = TlbClass::no_tag;  ///< as TlbClass, for one byte
        u64 machine_page = 0;
        u8* host = nullptr;
    };
    std::array<Entry, size> entry;
    /// For code outside and in 64-bit mode; null: no engine keeps any.
    std::array<std::unique_ptr<CodeTargets>, 2> targets;
    /// Each change of a slot goes along with this.
    void forget_targets(u64 linear) {
        for (auto& t : targets)
            if (t != nullptr) t->forget(linear);
    }
    static unsigned slot(u64 linear) { return (linear >> 12) & (size - 1); }
};

/// Classes of data accesses with the same permissions.
enum class DataClass : u8 {
    user,
    supervisor,
    supervisor_ac,
    none /* always misses: watchpoints, alignment checks */
};

/// Statistics that the timing model and the accounts read. Page-walk references: memory reads of paging
/// structures.
struct WalkCounters {
    u64 walks{}, references{}, ept_references{};
};

class Mmu {
public:
    explicit Mmu(PhysicalMemory& memory);
    ~Mmu();
    Mmu(const Mmu&) = delete;
    Mmu& operator=(const Mmu&) = delete;

    /// Adopts new controls (CR0, CR3, CR4, EFER, PKRU, VPID, EPTP ... changed). Keeps what the tags still
    /// allow: call the flush functions for what the architecture invalidates. What data() and fetch() return
    /// may change.
    void set_controls(const PagingControls& controls);
    /// EFLAGS.AC alone, before explicit supervisor accesses.
    void set_ac(bool ac) { controls_.ac = ac; }
    const PagingControls& controls() const { return controls_; }
    void set_dirty_log(DirtyLog* log) { dirty_log_ = log; }
    /// Numbers the layers of a chain, before it is used in controls: equal chains get equal numbers. Returns the
    /// number of the whole chain: of what lies beneath a guest of the level that runs on it. To be done again after
    /// an INVEPT by a level that keeps one of its layers.
    u32 number_chain(EptChain& chain);

    /// First-level tables for the engines' inline probes. Several whole sets are kept, one for each recent
    /// address space and setting of the controls, so that VM transitions and CR3 switches need no refill.
    TlbClass& data(DataClass c) { return *data_[static_cast<unsigned>(c)]; }
    FetchTlb& fetch(Privilege p) { return *fetch_[static_cast<unsigned>(p)]; }

    /// Translates through the second level or a walk, sets A/D flags, fills the first level. A cached
    /// translation that forbids the access is walked again, so that permissions may grow without an
    /// invalidation. `access` read or write; for a read-modify-write pass write (SDM: needs both
    /// permissions).
    /// @return false: `fault` tells why.
    bool translate_data(Linear a, Access access, Privilege p, Intent intent, Translation& out,
                        WalkFault& fault);
    bool translate_fetch(Linear a, Privilege p, Translation& out, WalkFault& fault);
    /// A shadow-stack access: `needed` is read or write of shadow_right, with `user` where the page must be one.
    bool translate_shadow_stack(Linear a, u16 needed, Translation& out, WalkFault& fault);
    /// Guest-physical (EPT) translation alone, for PDPTE loads, posted-interrupt and VMX structures of a
    /// guest.
    bool translate_guest_physical(GuestPhys a, Access access, u64& machine, WalkFault& fault);
    /// An address of the hypervisor that keeps the first `layers` layers of `chain` beneath itself, for its VMX
    /// structures. Guest-physical mappings are cached.
    bool translate_structure(const EptChain& chain, unsigned layers, u64 address, Access access, u64& machine,
                             WalkFault& fault);
    /// Side-effect-free translation (no A/D, no TLB), for debuggers, the level tracker and logs.
    bool peek(Linear a, u64& machine) const;

    // Invalidations, by the SDM's names ("Caching Translation Information").
    void flush_all();                      ///< everything, all VPIDs and EPTPs
    void flush_current(bool keep_global);  ///< MOV CR3 / CR4 changes: current VPID (and PCID if keep_global)
    void flush_all_but_global();           ///< current VPID, all PCIDs (INVPCID 3)
    void flush_pcid(u16 pcid);             ///< current VPID, non-global of one PCID (INVPCID 1, MOV CR3)
    void invlpg(Linear a);                 ///< current VPID, current PCID and globals
    void invpcid_address(u16 pcid, Linear a);  ///< INVPCID type 0
    // INVVPID and INVEPT by root operation; `beneath`: by a level that runs on the chain of that number. All that
    // was translated with the named VPID or EPTP of that level goes, its guests' guests included.
    void invvpid_address(u16 vpid, Linear a, u32 beneath = 0);
    void invvpid_single(u16 vpid, bool keep_global, u32 beneath = 0);
    void invvpid_all(u32 beneath = 0);
    void invept_single(u64 eptp, u32 beneath = 0);
    void invept_all(u32 beneath = 0);
    /// A frame received decoded code: no write tag for it may remain anywhere.
    void drop_write_tags(u64 machine_page);
    /// An engine threw its translations away.
    void forget_code_targets();

    WalkCounters counters;

private:
    struct Caches;  // tlb_caches.h
    bool translate(u64 linear, u16 needed, Access access, Translation& out, WalkFault& fault);
    void point_at_context();
    PhysicalMemory& memory_;
    PagingControls controls_{};
    DirtyLog* dirty_log_ = nullptr;
    std::array<TlbClass*, 4> data_{};
    std::array<FetchTlb*, 2> fetch_{};
    std::unique_ptr<Caches> caches_;
};

}  // namespace droste
