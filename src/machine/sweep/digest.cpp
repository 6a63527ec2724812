// SPDX-License-Identifier: Apache-2.0
// Digests with OpenSSL's libcrypto.
#include "machine/sweep/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>

#include "base/assert.h"

namespace droste {

namespace {

class Sha256 {
public:
    Sha256() : context_(EVP_MD_CTX_new()) {
        ASSERT(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
    }
    void add(std::string_view bytes) {
        ASSERT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
    }
    std::string take() {
        std::array<u8, EVP_MAX_MD_SIZE> digest;
        unsigned size = 0;
        ASSERT(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
        std::string text;
        for (unsigned i = 0; i < size; ++i)
            text += fmt::format("{:02x}", digest[i]);
        return text;
    }

private:
    struct Free {
        void operator()(EVP_MD_CTX* c) const { EVP_MD_CTX_free(c); }
    };
    std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace

std::string sha256_of(std::string_view text) {
    Sha256 hash;
    hash.add(text);
    return hash.take();
}

std::string sha256_of_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in)
        return "absent";
    Sha256 hash;
    std::string buffer(1 << 16, '\0');
    while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() != 0)
        hash.add(std::string_view(buffer).substr(0, static_cast<std::size_t>(in.gcount())));
    return in.bad() ? "absent" : hash.take();
}

const std::string& RunDigests::file(const std::string& path) {
    const auto [at, is_new] = files_.try_emplace(path);
    if (is_new)
        at->second = sha256_of_file(path);
    return at->second;
}

std::string RunDigests::of(const Options& options, std::string_view more) {
    std::string text = fmt::format("program {}\n{}\n", program_, more);
    for (const OptionRow* row : options.rows()) {
        const bool names_file = row->type == OptionType::path || (row->type == OptionType::name_or_file &&
                                                                  options.text(row->key).ends_with(".toml"));
        text += fmt::format("{} =", row->key);
        if (names_file && !options.text(row->key).empty()) {
            text += fmt::format(" {}", file(options.text(row->key)));
        } else if (row->type == OptionType::paths) {
            for (const std::string& path : options.paths(row->key)) {
                const std::size_t end = std::min(path.find(' '), path.size());
                text += fmt::format(" {}{}", file(path.substr(0, end)), path.substr(end));
            }
        } else {
            text += fmt::format(" {}", options.shown(row->key));
        }
        text += '\n';
    }
    return sha256_of(text);
}

}  // namespace droste
