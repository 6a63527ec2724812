// SPDX-License-Identifier: Apache-2.0
// The ACPI tables that describe the board to kernels which no firmware prepared.
#pragma once
#include <vector>

#include "base/types.h"

namespace droste {

struct AcpiConfig {
    unsigned cpus = 1;
    bool hpet = true;
    bool ecam = true;  ///< memory-mapped PCI configuration (MCFG)
    bool pci = true;
    bool keyboard = true;  ///< the 8042
    bool timer32 = true;   ///< the PM timer counts 32 bits, not 24
};

/// RSDP, XSDT and all tables as one block for the address `base` (a multiple of 64); the RSDP stands at its
/// start.
std::vector<u8> acpi_tables(const AcpiConfig& config, u64 base);

/// The definition block (body of the DSDT, without its header).
std::vector<u8> dsdt_body(const AcpiConfig& config);

}  // namespace droste
