// SPDX-License-Identifier: Apache-2.0
// HostFuzz: runs cases on the host and on the emulated CPU and tells the differences.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "host_cpu.h"
#include "insn_generator.h"
#include "test_machine.h"

namespace droste::test {

class HostFuzz {
public:
    explicit HostFuzz(CodeSize size);

    bool available() const { return host_.has(size_); }
    bool has_tiles() const { return host_.has_tiles(); }
    /// `count` cases of a row; empty, or the report of the first that differs.
    std::string check_row(const InsnRow& row, u64 seed, unsigned count);
    const Isa& isa() const { return machine_->isa; }

    /// Changes the emulated result; the test of this test.
    void (*spoil)(Cpu&) = nullptr;

    struct Tally {
        u64 cases = 0, faults = 0, rejected = 0;
    };
    Tally tally;

private:
    struct Result {
        UserState state;
        std::shared_ptr<TileImage> tiles;
        HostEvent event;
    };
    Result run_host(const FuzzCase& c);
    Result run_emulated(const FuzzCase& c);
    std::string compare(const FuzzCase& c, Result& host, Result& emulated);
    std::string report(const FuzzCase& c, const Result& host, const Result& emulated,
                       const std::string& what);
    std::string disassemble(const FuzzCase& c) const;

    CodeSize size_;
    HostCpu host_;
    std::unique_ptr<TestMachine> machine_;
    InsnGenerator generator_;
    std::array<u8, HostCpu::data_size> background_{}, initial_{};
    u8* emulated_memory_ = nullptr;
};

/// CPUID of the host has the row's feature.
bool host_has(Feature f);

}  // namespace droste::test
