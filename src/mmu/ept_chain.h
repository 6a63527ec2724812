// SPDX-License-Identifier: Apache-2.0
// EptChain: second-level translation in several steps, one for each hypervisor beneath the running guest.
#pragma once
#include <array>

#include "base/types.h"
#include "mmu/paging.h"

namespace droste {

/// Levels of hypervisors that a chain can have.
inline constexpr unsigned most_layers = 32;

/// One hypervisor's part of the translation: what its VMCS for the level above says.
struct EptLayer {
    bool ept{};                   ///< "enable EPT"; else addresses of its guest are its own
    u16 vpid{};
    u64 eptp{};
    GuestPagingControls guest{};
    DirtyLog* log{};              ///< page-modification logging of this layer
    // given by Mmu::number_chain
    u32 beneath = 0;              ///< number of the chain under this layer; 0: none
    u32 tables = 0;               ///< tags guest-physical mappings of this layer's guest
};

/// Layer 0 is root's. An address of the running guest goes through the layers from the last to the first:
///
///   guest-physical of level n --EPT n-1--> guest-physical of level n-1 --...--> --EPT 0--> machine-physical
///
/// Each EPT's paging structures lie in the memory of the hypervisor that keeps it, so reading their entries is
/// itself a translation by the layers beneath.
struct EptChain {
    unsigned depth = 0;
    std::array<EptLayer, most_layers> layer{};
};

}  // namespace droste
