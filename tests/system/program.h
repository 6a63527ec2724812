// SPDX-License-Identifier: Apache-2.0
// Runs the built program as a user does, and reads what it leaves.
#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace droste::system_test {

using Json = nlohmann::json;

struct Finished {
    int status = -1;  ///< -1: ended by a signal
    std::string out, err;
    Json report;  ///< null when none was asked for, or none was written
};

/// A place for the files of one test process, removed at its end.
class Folder {
public:
    Folder();
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::string file(const std::string& name) const { return path_ + "/" + name; }
    std::string write(const std::string& name, const std::string& bytes) const;

private:
    std::string path_;
};

enum class Report : bool { none, json };

/// Runs `droste ARGUMENT...` to its end. `typist` sees everything printed so far each time when there is more, and
/// returns what to type then.
using Typist = std::function<std::string(const std::string& printed)>;
Finished droste(std::vector<std::string> arguments, Report report = Report::none, const Typist& typist = {});

/// A file of guest-images/out.
std::string image(const std::string& name);
std::string source_file(const std::string& name);
std::string slurp(const std::string& path);

/// The contents of a member of an uncompressed cpio archive ("newc").
std::string cpio_member(const std::string& archive, const std::string& name);
/// A digest in hexadecimal; `algorithm` as OpenSSL names it.
std::string digest(const char* algorithm, const std::string& bytes);

/// The rest of the lines that begin with `start`, in order; carriage returns are dropped.
std::vector<std::string> lines_after(const std::string& text, const std::string& start);

/// The reports of two equal runs differ in the host's time alone.
Json without_host_time(Json report);

}  // namespace droste::system_test

/// The guest images need the network to be built.
#define SKIP_WITHOUT_IMAGE(name)                                                                          \
    if (!std::ifstream(::droste::system_test::image(name)))                                               \
    GTEST_SKIP() << ::droste::system_test::image(name) << " is not built; run guest-images/*/build"
