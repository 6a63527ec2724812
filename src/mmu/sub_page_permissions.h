// SPDX-License-Identifier: Apache-2.0
// Sub-page write permissions: what the table says of one 128-byte sub-page.
#pragma once
#include "mmu/paging.h"
#include "mmu/physical_memory.h"

namespace droste {

enum class SubPage : u8 { writable, protected_, miss, misconfiguration };

/// Looks up the sub-page that holds `guest_physical`.
SubPage sub_page_permission(const PagingControls& c, u64 guest_physical, const PhysicalMemory& memory);

}  // namespace droste
