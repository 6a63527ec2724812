// SPDX-License-Identifier: Apache-2.0
// Machine: owns processor, memory and board, and runs them. What frontends use.
#pragma once
#include <memory>

#include "base/result.h"
#include "machine/host_console.h"
#include "machine/options.h"
#include "machine/run_summary.h"

namespace droste {

struct Cpu;
class PhysicalMemory;
struct BootRequest;

class Machine {
public:
    /// Builds the board that the options describe; nothing is loaded yet. `console` must outlive the machine.
    static Result<std::unique_ptr<Machine>> create(const Options& options, HostConsole& console);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    /// Lays the kernel of boot.* into memory and sets the processor to its entry.
    Status load_boot_files();
    /// The same for images that are already in host memory.
    Status load(const BootRequest& request);

    /// Runs until the guest ends, or `options` say that it is enough.
    RunEnd run();
    /// Runs until `tick` instructions have retired (tests, debuggers): exactly so many with one processor; with
    /// several, to the end of the round in which their sum reaches it. True: the guest has not ended.
    bool run_until(u64 tick);
    RunSummary summary() const;

    /// A hash of all that the guest can see; equal runs have equal hashes at equal ticks.
    u64 state_hash();

    unsigned processors() const;
    Cpu& cpu(unsigned number = 0);
    PhysicalMemory& memory();

    struct Parts;

private:
    explicit Machine(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace droste
