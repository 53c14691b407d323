// SPDX-License-Identifier: MIT
// Several sequences in one step: each brings as many rows as it has to read, a whole prompt or one token. Below the pipeline
// there is only this one function, skald::forward.
//
//     03_batch model.gguf
#include <algorithm>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 03_batch MODEL\n", 2;
    const std::vector<std::string> prompts{"The capital of France is", "One, two, three,", "Once upon a time there was a"};

    sk::thread_pool pool;
    const auto model = sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool});
    const auto& tokenizer = model.tokenizer();
    // One cache holds all sequences, one workspace the activations of a step.
    const sk::kv::paged<sk::kv::f16> policy{{.tokens = 1024, .sequences = prompts.size()}};
    auto cache = policy.make(model.config().cache(), model.backend().memory());
    sk::workspace workspace{model.backend(), model.architecture(), model.config(), {.rows = 256, .wanted = prompts.size()}};
    sk::buffer<float> logits(prompts.size() * model.config().vocabulary);
    std::vector<sk::kv::sequence_id> sequences;
    std::vector<std::vector<sk::token_id>> next;  // what each sequence reads in the coming step
    for (const std::string& prompt : prompts) {
        sequences.push_back(cache.open());
        next.push_back(tokenizer.encode(prompt, {.add_bos = tokenizer.add_bos()}));
    }

    auto text = prompts;
    for (int step = 0; step < 16; ++step) {
        std::vector<sk::token_id> tokens;
        std::vector<sk::kv::segment> segments;  // which rows belong to which sequence
        std::vector<std::size_t> wanted;        // the rows whose logits we need: each sequence's last
        for (std::size_t i = 0; i < sequences.size(); ++i) {
            segments.push_back({sequences[i], tokens.size(), next[i].size()});
            tokens.insert(tokens.end(), next[i].begin(), next[i].end());
            wanted.push_back(tokens.size() - 1);
        }
        const sk::matrix_view<float> out(logits.data(), {wanted.size(), model.config().vocabulary});
        sk::forward(model, workspace, cache, {tokens, segments, wanted}, out);
        for (std::size_t i = 0; i < sequences.size(); ++i) {
            cache.commit(sequences[i]);  // until here a rollback could take the step back
            const auto row = out.row(i);
            next[i] = {static_cast<sk::token_id>(std::max_element(row.begin(), row.end()) - row.begin())};
            text[i] += tokenizer.decode(next[i]);
        }
    }
    for (const std::string& t : text) std::cout << t << '\n';
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
