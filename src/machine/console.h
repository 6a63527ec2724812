// SPDX-License-Identifier: Apache-2.0
// Console: what the guest prints on its way to the people, counted and hashed.
#pragma once
#include <memory>
#include <string>

#include "base/host_output.h"
#include "machine/host_console.h"

namespace droste {

class Console final : public ByteSink {
public:
    explicit Console(HostConsole& host);
    ~Console() override;
    void put(u8 byte) override;
    u64 bytes() const { return bytes_; }
    /// SHA-256 of everything printed so far, in hexadecimal.
    std::string sha256() const;

private:
    struct Hash;
    HostConsole& host_;
    std::unique_ptr<Hash> hash_;
    u64 bytes_ = 0;
};

}  // namespace droste
