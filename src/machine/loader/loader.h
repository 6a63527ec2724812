// SPDX-License-Identifier: Apache-2.0
// The loader: recognises a kernel image, lays it and its parameters into guest memory, and tells how to enter
// it.
#pragma once
#include <string>
#include <vector>

#include "base/result.h"
#include "machine/loader/bytes.h"
#include "machine/loader/entry_state.h"
#include "machine/loader/guest_memory.h"

namespace droste {

/// A file in host memory; `name` is what messages and guests call it.
struct Image {
    std::string name;
    std::vector<u8> bytes;
};

struct BootModule {
    Image image;
    std::string command_line;
};

enum class BootProtocol : u8 { automatic, linux64, pvh, multiboot };
enum class Decompress : u8 { guest, host };

struct BootRequest {
    Image kernel;
    std::vector<BootModule> modules;  ///< the initial RAM disk is the first
    std::string command_line;
    BootProtocol protocol = BootProtocol::automatic;
    Decompress decompress = Decompress::guest;
    u64 rsdp = 0;  ///< where the ACPI tables start
};

/// The image's own protocol, or an error when it is of no known kind.
Result<BootProtocol> recognise(const Image& kernel);

Result<EntryState> load_kernel(const BootRequest& request, GuestMemory& memory);

/// One function per protocol; load_kernel chooses.
Result<EntryState> load_linux(const BootRequest& request, GuestMemory& memory);
Result<EntryState> load_pvh(const BootRequest& request, GuestMemory& memory);
Result<EntryState> load_multiboot(const BootRequest& request, GuestMemory& memory);

/// Whether a multiboot 1 header stands in the first 8192 bytes.
bool has_multiboot_header(Bytes image);

/// Reads a whole file; `key` names the option that asked for it in the message.
Result<Image> read_image(const std::string& path, std::string_view key);

/// A kernel's modules laid one after another from `above`, each at a page boundary.
struct LaidModule {
    u64 first;
    u64 size;
};
Result<std::vector<LaidModule>> lay_modules(const BootRequest& request, GuestMemory& memory, u64 above);

}  // namespace droste
