// SPDX-License-Identifier: Apache-2.0
// The hash of the console with OpenSSL's libcrypto.
#include "machine/console.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/assert.h"

namespace droste {

struct Console::Hash {
    Hash() : context(EVP_MD_CTX_new()) {
        ASSERT(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1);
    }
    ~Hash() { EVP_MD_CTX_free(context); }
    void flush() {
        ASSERT(EVP_DigestUpdate(context, buffer.data(), used) == 1);
        used = 0;
    }
    EVP_MD_CTX* context;
    std::array<u8, 4096> buffer;
    std::size_t used = 0;
};

Console::Console(HostConsole& host) : host_(host), hash_(std::make_unique<Hash>()) {}
Console::~Console() = default;

void Console::put(u8 byte) {
    ++bytes_;
    hash_->buffer[hash_->used++] = byte;
    if (hash_->used == hash_->buffer.size())
        hash_->flush();
    host_.put(byte);
}

std::string Console::sha256() const {
    hash_->flush();
    EVP_MD_CTX* copy = EVP_MD_CTX_new();
    ASSERT(copy != nullptr && EVP_MD_CTX_copy_ex(copy, hash_->context) == 1);
    std::array<u8, EVP_MAX_MD_SIZE> digest;
    unsigned size = 0;
    ASSERT(EVP_DigestFinal_ex(copy, digest.data(), &size) == 1);
    EVP_MD_CTX_free(copy);
    std::string text;
    for (unsigned i = 0; i < size; ++i)
        text += fmt::format("{:02x}", digest[i]);
    return text;
}

}  // namespace droste
