/* config.json in both dialects: what published files mean, and what is refused. The published values are the
 * seeds of the fuzzer; a case changes one member of a seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>

#include "ranks/model/family.h"
#include "tests/unit/support/folder.h"

#define SEEDS "tests/fuzz/corpus/config/"

typedef struct {
    const char *seed;
    const char *member; /* "a" or "a.b" */
    const char *value;  /* JSON; NULL removes the member */
    const char *cause;  /* NULL: it must be taken */
} change;

/* The seed with a member changed, as text of the caller's. */
static char *changed(const change *c)
{
    size_t size;
    char path[128], *text;
    snprintf(path, sizeof path, SEEDS "%s.json", c->seed);
    text = folder_read(path, &size);
    if (c->member == NULL)
        return text;
    char *comma = strstr(text, ",\n}"); /* the drafter's seed has the published file's trailing comma */
    if (comma != NULL)
        *comma = ' ';
    json_t *root = json_loads(text, 0, NULL), *at = root;
    free(text);
    assert_non_null(root);
    const char *name = c->member, *dot;
    for (; (dot = strchr(name, '.')) != NULL; name = dot + 1) {
        char group[64];
        snprintf(group, sizeof group, "%.*s", (int)(dot - name), name);
        at = json_object_get(at, group);
        assert_non_null(at);
    }
    if (c->value == NULL) {
        assert_int_equal(json_object_del(at, name), 0);
    } else {
        json_t *value = json_loads(c->value, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        assert_int_equal(json_object_set_new(at, name, value), 0);
    }
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static slip_status parse(const change *c, slip_model *model)
{
    char *text = changed(c);
    slip_status status;
    if (strncmp(c->seed, "draft", 5) == 0) {
        change target = {"xiaomi_pro", NULL, NULL, NULL};
        char *target_text = changed(&target);
        assert_int_equal(slip_config_parse(target_text, strlen(target_text), "config.json", model), SLIP_OK);
        free(target_text);
        status = slip_config_parse_draft(text, strlen(text), "draft.json", model);
    } else {
        status = slip_config_parse(text, strlen(text), "config.json", model);
    }
    free(text);
    return status;
}

static void parse_seed(const char *seed, slip_model *model)
{
    change c = {seed, NULL, NULL, NULL};
    slip_clear();
    if (parse(&c, model) != SLIP_OK)
        fail_msg("%s: %s", seed, slip_cause());
}

static void test_transformers(void **state)
{
    (void)state;
    slip_model m;
    parse_seed("transformers", &m);
    assert_int_equal(m.hidden, 64);
    assert_int_equal(m.layers, 3);
    assert_int_equal(m.global.heads, 4);
    assert_int_equal(m.global.kv_heads, 1);
    assert_int_equal(m.sliding.kv_heads, 2); /* transformers doubles it */
    assert_int_equal(m.global.head_dim, 24);
    assert_int_equal(m.sliding.v_head_dim, 16);
    assert_int_equal(m.global.rotary_dim, 8); /* int(24 * 0.334) */
    assert_int_equal(m.sliding.window, 8);    /* sliding_window counts the query itself */
    assert_int_equal(m.global.window, 0);
    assert_true(m.global.rope_theta == 5e6 && m.sliding.rope_theta == 1e4);
    assert_true(m.sliding.sinks && !m.global.sinks);
    assert_true(!m.is_sliding[0] && m.is_sliding[1] && !m.is_sliding[2]);
    assert_true(!m.is_moe[0] && m.is_moe[1] && m.is_moe[2]);
    assert_int_equal(m.qkv_chunks, 0);
    assert_int_equal(m.eos_count, 1);
    assert_int_equal(m.eos[0], 3);
    assert_true(m.norm_top_k && m.routed_scale == 1.0f && fabsf(m.value_scale - 0.707f) < 1e-6f);
    assert_false(m.has_draft);
}

static void test_xiaomi_pro(void **state)
{
    (void)state;
    slip_model m;
    parse_seed("xiaomi_pro", &m);
    assert_string_equal(m.name, "mimo_v2");
    assert_int_equal(m.layers, 70);
    assert_int_equal(m.sliding.window, 128);
    assert_int_equal(m.global.rotary_dim, 64);
    assert_int_equal(m.sliding.kv_heads, 8);
    assert_int_equal(m.qkv_chunks, 8);
    assert_true(m.sliding.sinks && !m.global.sinks);
    assert_true(!m.is_sliding[0] && !m.is_sliding[69] && m.is_sliding[68] && m.is_sliding[1]);
    assert_true(!m.is_moe[0] && m.is_moe[69]);
    assert_true(m.routed_scale == 1.0f && m.norm_epsilon == 1e-5f && m.sliding.rope_theta == 1e4);
    assert_int_equal(m.experts, 384);
    assert_int_equal(m.dense_intermediate, 16384);
}

static void test_xiaomi_flash(void **state)
{
    (void)state;
    slip_model m;
    parse_seed("xiaomi_flash", &m);
    assert_int_equal(m.global.kv_heads, 4);
    assert_int_equal(m.sliding.kv_heads, 8);
    assert_int_equal(m.qkv_chunks, 0);
    assert_true(m.norm_epsilon == 1e-6f && m.global.rope_theta == 5e6);
}

static void test_draft(void **state)
{
    (void)state;
    slip_model m;
    parse_seed("draft_pro", &m);
    assert_true(m.has_draft && !m.draft.mask_embedding);
    assert_int_equal(m.draft.block, 8);
    assert_int_equal(m.draft.taps, 5);
    assert_int_equal(m.draft.tap_layer[4], 69);
    assert_int_equal(m.draft.mask_token, 151669);
    assert_int_equal(m.draft.attention.rotary_dim, 64);
    assert_int_equal(m.draft.attention.window, 1024);
    assert_true(m.draft.attention.rope_theta == 5e6 && m.draft.attention.sinks);
}

#define PRO "xiaomi_pro"
#define HF "transformers"
#define DRAFT "draft_pro"

static const change changes[] = {
    {PRO, "model_type", "\"llama\"", "model_type is \"llama\": only mimo_v2"},
    {PRO, "model_type", NULL, "model_type is missing"},
    {PRO, "architectures", "[\"MiMoV2ForCausalLM\"]", NULL},
    {PRO, "architectures", "[\"MiMoV2OmniForCausalLM\",\"MiMoV2Model\"]", NULL},
    {PRO, "architectures", "null", NULL},
    {PRO, "architectures", "[]", NULL},
    {PRO, "architectures", "[\"MiMoV2FlashForCausalLM\"]",
     "architectures is a list of 1: entry 0, MiMoV2FlashForCausalLM, contradicts model_type, which is mimo_v2"},
    {PRO, "architectures", "[\"MiMoV2ForCausalLM\",\"LlamaForCausalLM\"]", "entry 1, LlamaForCausalLM, contradicts model_type"},
    {PRO, "architectures", "[\"MiMo\"]", "entry 0, MiMo, contradicts"},
    {PRO, "architectures", "[7]", "entry 0, no string, contradicts"},
    {PRO, "architectures", "\"MiMoV2ForCausalLM\"", "it must be a list"},
    {HF, "architectures", "[\"MiMoV2ForCausalLM\"]", "contradicts model_type, which is mimo_v2_flash"},
    {PRO, "hidden_size", NULL, "hidden_size is missing: it must be an integer from 1 to"},
    {PRO, "hidden_size", "-4096", "hidden_size is -4096"},
    {PRO, "hidden_size", "4096.0", "hidden_size is 4096.0"},
    {PRO, "hidden_size", "4294967296", "hidden_size is 4294967296"},
    {PRO, "hidden_size", "\"6144\"", "hidden_size is \"6144\""},
    {PRO, "num_hidden_layers", "0", "num_hidden_layers is 0"},
    {PRO, "num_hidden_layers", "257", "num_hidden_layers is 257"},
    {PRO, "num_hidden_layers", "69", "hybrid_layer_pattern is a list of 70: it must be a list of 69"},
    {PRO, "hybrid_layer_pattern", "[0,1]", "hybrid_layer_pattern is a list of 2"},
    {PRO, "moe_layer_freq", "1", "moe_layer_freq is 1: it must be a list"},
    {PRO, "moe_layer_freq", NULL, "moe_layer_freq is missing"},
    {PRO, "n_routed_experts", "null", "moe_layer_freq is a list of 70: it contradicts mlp_layer_types, or n_routed_experts"},
    {PRO, "mlp_layer_types", "[\"dense\"]", "mlp_layer_types is a list of 1"},
    {PRO, "num_key_value_heads", "7", "fused_qkv needs a multiple of num_key_value_heads"},
    {PRO, "num_attention_heads", "100", "no multiple of their 8 KV heads"},
    {PRO, "swa_num_key_value_heads", "24", "no multiple of their 24 KV heads"},
    {PRO, "partial_rotary_factor", "0.33", "63 rotated dimensions of a head of 192"},
    {PRO, "partial_rotary_factor", "0", "0 rotated dimensions"},
    {PRO, "partial_rotary_factor", "1.5", "partial_rotary_factor is 1.5"},
    {PRO, "attention_bias", "true", "attention_bias is true"},
    {PRO, "attention_bias", "\"no\"", "it must be true or false"},
    {PRO, "tie_word_embeddings", "true", "tie_word_embeddings is true"},
    {PRO, "n_group", "8", "group-limited routing"},
    {PRO, "topk_group", "4", "group-limited routing"},
    {PRO, "n_shared_experts", "1", "shared experts"},
    {PRO, "scoring_func", "\"softmax\"", "only sigmoid"},
    {PRO, "topk_method", "\"greedy\"", "only noaux_tc"},
    {PRO, "hidden_act", "\"gelu\"", "hidden_act is \"gelu\": only silu"},
    {PRO, "rope_scaling", "{\"type\":\"yarn\",\"factor\":4.0}", "rope_scaling.type is \"yarn\""},
    {PRO, "rope_scaling", "{\"factor\":4.0}", "RoPE scaling"},
    {PRO, "rope_scaling", "{\"rope_type\":\"default\"}", NULL},
    {PRO, "rope_theta", "0", "rope_theta is 0"},
    {PRO, "sliding_window", "0", "sliding_window is 0"},
    {PRO, "sliding_window", "129", "sliding_window_size is 128: it differs"},
    {PRO, "sliding_window_size", NULL, NULL},
    {PRO, "rope_parameters", "{\"rope_theta\":10000000.0,\"partial_rotary_factor\":0.334,\"rope_type\":\"default\"}", NULL},
    {PRO, "rope_parameters", "{\"rope_theta\":5000}", "rope_parameters.rope_theta is 5000: it differs from rope_theta, which is 10000000"},
    {PRO, "rope_parameters", "{\"partial_rotary_factor\":0.5}",
     "partial_rotary_factor is 0.334: it differs from rope_parameters.partial_rotary_factor, which is 0.5"},
    {PRO, "rope_parameters", "{\"sliding_attention\":{\"rope_theta\":20000}}",
     "rope_parameters.sliding_attention.rope_theta is 20000: it differs from swa_rope_theta, which is 10000"},
    {PRO, "rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":4}", "rope_parameters.rope_type is \"yarn\": RoPE scaling"},
    {PRO, "rope_parameters", "{\"full_attention\":{\"rope_type\":\"linear\"}}",
     "rope_parameters.full_attention.rope_type is \"linear\": RoPE scaling"},
    {PRO, "rope_scaling", "{\"mrope_section\":[1,2]}", "rope_scaling.mrope_section is a list of 2: RoPE scaling"},
    {PRO, "rope_scaling", "{\"factor\":1.0}", NULL},
    {PRO, "rope_scaling", "{\"rope_theta\":1e4}", "rope_scaling.rope_theta is 10000.0: it differs from rope_theta"},
    {PRO, "rms_norm_eps", "1e-6", "rms_norm_eps is 1e-6: it differs from layernorm_epsilon, which is 1e-5"},
    {PRO, "swiglu_limit", "7.0", "swiglu_limit is 7.0: it is not known"},
    {PRO, "final_logit_softcapping", "30", "final_logit_softcapping is 30"},
    {PRO, "use_qk_norm", "true", "use_qk_norm is true"},
    {PRO, "use_qk_norm", "false", NULL},
    {PRO, "mlp_bias", "true", "mlp_bias is true"},
    {PRO, "final_logit_softcapping", "null", NULL},
    {PRO, "vision_config", "{\"depth\":28}", NULL},
    {PRO, "vision_model_type", "\"mimovl\"", NULL}, /* MiMo-V2.5 and V2.6 */
    {PRO, "rope_scaling", "{\"rope_type\":\"default\",\"type\":\"default\"}", NULL},
    {PRO, "quantization_config.activation_scheme", "\"static\"", "activation_scheme is \"static\": only dynamic"},
    {PRO, "quantization_config.kv_cache_scheme", "{\"num_bits\":8}", "quantization_config.kv_cache_scheme is an object"},
    {PRO, "attention_chunk_size", "7", NULL},
    {PRO, "attention_projection_layout", "\"interleaved\"", "only fused_qkv"},
    {PRO, "attention_value_scale", "null", NULL},
    {PRO, "num_experts_per_tok", "385", "num_experts_per_tok is 385"},
    {PRO, "n_routed_experts", "5000", "n_routed_experts is 5000"},
    {PRO, "routed_scaling_factor", "2.5", NULL},
    {PRO, "layernorm_epsilon", "0", "layernorm_epsilon is 0"},
    {PRO, "layernorm_epsilon", NULL, "rms_norm_eps is missing"},
    {PRO, "eos_token_id", "152576", "eos_token_id is 152576"},
    {PRO, "eos_token_id", "[1,2,3]", NULL},
    {PRO, "eos_token_id", "[1,-2]", "not a token of the vocabulary"},
    {PRO, "eos_token_id", "[1,2,3,4,5,6,7,8,9]", "a list of 9"},
    {PRO, "quantization_config.quant_method", "\"gptq\"", "quantization_config.quant_method is \"gptq\""},
    {PRO, "quantization_config.weight_block_size", "[64,128]", "blocks of 128 x 128"},
    {PRO, "quantization_config.mxfp4_block_size", "16", "MXFP4 has blocks of 32"},
    {PRO, "quantization_config", "[]", "quantization_config is a list of 0: it must be an object"},
    {HF, "layer_types", "[\"full_attention\"]", "layer_types is a list of 1"},
    {HF, "layer_types", "[\"full_attention\",\"linear\",\"full_attention\"]", "entry 1 is neither"},
    {HF, "layer_types", "[1,2,3]", "entry 0 is neither"},
    {HF, "mlp_layer_types", NULL, "mlp_layer_types is missing"},
    {HF, "rope_parameters", "null", "rope_theta is missing"},
    {HF, "rope_parameters.full_attention", NULL, "rope_parameters.full_attention.rope_theta is missing"},
    {HF, "rope_parameters.sliding_attention.rope_type", "\"yarn\"", "rope_type is \"yarn\""},
    {HF, "rope_parameters.sliding_attention.partial_rotary_factor", NULL, NULL},
    {HF, "num_key_value_heads", "3", "no multiple of their 3 KV heads"},
    {HF, "num_key_value_heads", "4", "no multiple of their 8 KV heads"},
    {HF, "sliding_window", NULL, "sliding_window is missing"},
    {HF, "hybrid_layer_pattern", "[0,1,0]", NULL},
    {HF, "hybrid_layer_pattern", "[0,0,0]", "contradicts layer_types"},
    {HF, "moe_layer_freq", "[0,1,1]", NULL},
    {HF, "moe_layer_freq", "[0,1,0]", "moe_layer_freq is a list of 3: it contradicts mlp_layer_types"},
    {HF, "swa_num_attention_heads", "4", NULL},
    {HF, "swa_num_attention_heads", "8", "swa_num_attention_heads is 8: with layer_types, 4 is"},
    {HF, "swa_num_key_value_heads", "2", NULL},
    {HF, "swa_num_key_value_heads", "1", "swa_num_key_value_heads is 1: with layer_types, 2 is"},
    {HF, "swa_head_dim", "12", "swa_head_dim is 12: with layer_types, 24 is"},
    {HF, "swa_v_head_dim", "24", "swa_v_head_dim is 24: with layer_types, 16 is"},
    {HF, "swa_v_head_dim", "\"16\"", "swa_v_head_dim is \"16\""},
    {HF, "add_swa_attention_sink_bias", "true", NULL},
    {HF, "add_swa_attention_sink_bias", "false", "sliding_attention layers have sinks"},
    {HF, "add_full_attention_sink_bias", "true", "full_attention layers have no sinks"},
    {HF, "attention_projection_layout", "\"split\"", NULL},
    {HF, "attention_projection_layout", "\"fused_qkv\"", "q, k and v are split"},
    {HF, "sliding_window_size", "128", "sliding_window is 8: it differs from sliding_window_size, which is 128"},
    {HF, "swa_rope_theta", "5e6", "swa_rope_theta is 5000000.0: it differs from rope_parameters.sliding_attention.rope_theta"},
    {HF, "attention_bias", "true", "attention_bias is true"},
    {HF, "n_group", "2", "group-limited routing"},
    {DRAFT, "hidden_size", "4096", "draft.json: hidden_size is 4096: it differs from the target's, which is 6144"},
    {DRAFT, "vocab_size", "152064", NULL}, /* padded otherwise, as published */
    {DRAFT, "vocab_size", "0", "vocab_size is 0: it must be an integer from 1 to"},
    {DRAFT, "num_target_layers", "70", NULL},
    {DRAFT, "num_target_layers", "48", "num_target_layers is 48: it differs from the target's, which is 70"},
    {DRAFT, "block_size", NULL, "block_size is missing"},
    {DRAFT, "block_size", "1", "block_size is 1"},
    {DRAFT, "block_size", "33", "block_size is 33"},
    {DRAFT, "dflash_config.block_size", "4", "dflash_config.block_size is 4: it differs from block_size, which is 8"},
    {DRAFT, "dflash_config.block_size", "8", NULL},
    {DRAFT, "dflash_config.swa_window_size", "64", "swa_window_size is 64: it differs from sliding_window, which is 1024"},
    {DRAFT, "rope_parameters", "{\"rope_theta\":10000.0,\"partial_rotary_factor\":0.5}", NULL},
    {DRAFT, "rope_parameters", "{\"partial_rotary_factor\":0.25}",
     "rope_parameters.partial_rotary_factor is 0.25: it differs from partial_rotary_factor, which is 0.5"},
    {DRAFT, "rope_parameters", "{\"rope_theta\":5000}", "rope_parameters.rope_theta is 5000: it differs from rope_theta"},
    {DRAFT, "rope_parameters", "{\"rope_type\":\"yarn\"}", "RoPE scaling"},
    {DRAFT, "logit_scale", "2", "logit_scale is 2: it is not known"},
    {DRAFT, "dflash_config.markov_rank", "8", "dflash_config.markov_rank is 8: it is not known"},
    {DRAFT, "dflash_config.markov", "true", "dflash_config.markov is true: it must be a multiple of 8 from 0 to 1024"},
    {DRAFT, "dflash_config.markov", "0", NULL},
    {DRAFT, "dflash_config.markov", "1024",
     "vocab_size is 152064: it differs from the target's, which is 152576"}, /* a head's rows are the target's */
    {DRAFT, "dflash_config.markov", "1032", "dflash_config.markov is 1032: it must be a multiple of 8 from 0 to 1024"},
    {DRAFT, "dflash_config.markov", "-8", "dflash_config.markov is -8: it must be a multiple of 8 from 0 to 1024"},
    {DRAFT, "dflash_config.markov", "100", "dflash_config.markov is 100: it must be a multiple of 8 from 0 to 1024"},
    {DRAFT, "markov", "64", "vocab_size is 152064: it differs from the target's"},
    {DRAFT, "dflash_config.target_layer_ids", "[0,15,15]", "ascending"},
    {DRAFT, "dflash_config.target_layer_ids", "[0,70]", "ascending"},
    {DRAFT, "dflash_config.target_layer_ids", "[]", "a list of 0"},
    {DRAFT, "dflash_config.mask_token_id", "152576", "dflash_config.mask_token_id is 152576"},
    {DRAFT, "dflash_config.causal", "true", "dflash_config.causal is true"},
    {DRAFT, "dflash_config.use_swa", "false", NULL}, /* the layer list and is_causal say the same */
    {DRAFT, "layer_types", "[\"full_attention\"]", "layer_types is a list of 1"},
    {DRAFT, "is_causal", "true", "is_causal is true"},
    {DRAFT, "dflash_config", "{}", "mask_token_id is missing"},
    {DRAFT, "head_dim", NULL, "head_dim is missing"},
    {DRAFT, "num_key_value_heads", "5", "no multiple of num_key_value_heads"},
    {DRAFT, "partial_rotary_factor", "0.51", "even number"},
    {DRAFT, "attention_bias", "true", "attention_bias is true"},
    {DRAFT, "rope_scaling", "{\"rope_type\":\"yarn\"}", "RoPE scaling"},
    {DRAFT, "hidden_act", "\"relu\"", "only silu"},
};

static void test_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const change *c = &changes[i];
        slip_model model;
        slip_clear();
        slip_status status = parse(c, &model);
        if (c->cause == NULL ? status != SLIP_OK : status != SLIP_ERR_INPUT || strstr(slip_cause(), c->cause) == NULL)
            fail_msg("%s, %s = %s: status %d, \"%s\"", c->seed, c->member, c->value ? c->value : "(none)", status, slip_cause());
    }
    slip_clear();
}

/* Which field decides the window, and that no hybrid pattern means all global. */
static void test_meanings(void **state)
{
    (void)state;
    slip_model m;
    change resaved = {HF, "sliding_window_size", "8", NULL}; /* transformers reads it as 8 before + the query */
    assert_int_equal(parse(&resaved, &m), SLIP_OK);
    assert_int_equal(m.sliding.window, 9);
    change derived = {HF, "sliding_window_size", "7", NULL}; /* what it made of the other, saved beside it */
    assert_int_equal(parse(&derived, &m), SLIP_OK);
    assert_int_equal(m.sliding.window, 8);
    change all_global = {PRO, "hybrid_layer_pattern", NULL, NULL};
    assert_int_equal(parse(&all_global, &m), SLIP_OK);
    assert_false(m.is_sliding[1]);
    change unscaled = {PRO, "attention_value_scale", NULL, NULL};
    assert_int_equal(parse(&unscaled, &m), SLIP_OK);
    assert_true(m.value_scale == 1.0f);
    change own_base = {DRAFT, "dflash_config.backbone_rotary_base", NULL, NULL};
    assert_int_equal(parse(&own_base, &m), SLIP_OK);
    assert_true(m.draft.attention.rope_theta == 1e4);
    change one_window = {DRAFT, "sliding_window", NULL, NULL};
    assert_int_equal(parse(&one_window, &m), SLIP_OK);
    assert_int_equal(m.draft.attention.window, 1024);
    change in_rope = {DRAFT, "partial_rotary_factor", NULL, NULL};
    assert_int_equal(parse(&in_rope, &m), SLIP_OK);
    assert_int_equal(m.draft.attention.rotary_dim, 128);   /* nobody says */
    change previous = {PRO, "sliding_window", NULL, NULL}; /* alone, it counts the keys before the query */
    assert_int_equal(parse(&previous, &m), SLIP_OK);
    assert_int_equal(m.sliding.window, 129);
}

static void test_not_json(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "{", "[]", "{\"a\":1,\"a\":2}", "{\"a\":1e999}", "{}x", "{\"a\":01}", "{\"a\":\"\xff\"}", "null", "{\"a\":1,}"};
    slip_model untouched = {.hidden = 7}, model = untouched;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        slip_clear();
        assert_int_equal(slip_config_parse(texts[i], strlen(texts[i]), "config.json", &model), SLIP_ERR_INPUT);
        assert_non_null(strstr(slip_cause(), "config.json"));
        assert_memory_equal(&model, &untouched, sizeof model);
    }
    slip_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers), cmocka_unit_test(test_xiaomi_pro), cmocka_unit_test(test_xiaomi_flash),
        cmocka_unit_test(test_draft),        cmocka_unit_test(test_changes),    cmocka_unit_test(test_meanings),
        cmocka_unit_test(test_not_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
