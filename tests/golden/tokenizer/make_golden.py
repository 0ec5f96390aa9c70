#!/usr/bin/env python3
"""Makes the tokenizers and the golden data of tests/unit/io/text/test_tokenizer.c with Hugging Face `tokenizers`.

    python tests/golden/tokenizer/make_golden.py        (Python 3.11, tokenizers 0.23.3)

Four small tokenizers, each with strings and the ids that `tokenizers` gives them:
    qwen2   Qwen2's normalizer and pre-tokenizer, trained on the standard library and the sentences below
    gpt2    no normalizer, ByteLevel alone, merges as "a b", ignore_merges with some merges taken away
    added   NFC, added tokens of every kind: overlapping, special or not, normalized or not
    ties    many ways to make each token, in random order: which merge comes first decides the ids
and stream.bin, byte strings in chunks with what Python's incremental decoder makes of each.

NAME.bin is little-endian records: u8 special tokens count, u32 size, text, u32 count, count x u16 ids. A text may be
broken UTF-8: `tokenizers` was given text.decode(errors="replace"). stream.bin is records: u8 chunks, then for each
chunk u8 size, bytes, u8 size, decoded; the last chunk is the end of the stream and has no bytes.

Strings keep to the characters of Unicode 14, the version of Debian 12's PCRE2 (and of this Python), less the 99
combining marks that `tokenizers` orders otherwise than Unicode does: its tables for NFC are those of Unicode 9.
"""
import codecs
import json
import random
import re
import struct
import sysconfig
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).parent
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SENTENCES = """The wind drops at dusk, and the boats come home; it's late, they'll say, we've done, I'd rest.
Der Zug fährt über die Brücke, während die Schüler müßig am Fluß sitzen und Äpfel essen.
L'été dernier, où étiez-vous ? Nous étions là, près du château, à l'ombre d'un chêne.
El niño pequeño comió una piña mañana; ¿qué pasó después? ¡Nadie lo supo!
Ci vediamo lunedì perché così è più comodo; la città è già piena.
Amanhã não há pão nem café: a estação está fechada até às três horas.
Zażółć gęślą jaźń, powiedział chłopiec, i poszedł w świat źdźbłami trawy.
Příliš žluťoučký kůň úpěl ďábelské ódy u řeky.
Árvíztűrő tükörfúrógép áll az út szélén, őrizve a hűvös éjszakát.
Sjö björnar åt blåbär på en ö i Östersjön.
Þórður æfði íþróttir á Íslandi við sjóinn.
Güneş doğarken İstanbul'da ışık yavaşça çoğalıyordu.
Tiếng Việt có nhiều dấu thanh: ngã, hỏi, sắc, huyền, nặng.
Съешь ещё этих мягких французских булок, да выпей чаю.
Щаслива їжачиха з'їла ґудзик біля Києва.
Ο ήλιος ανατέλλει πίσω από το βουνό· πού πάει η θάλασσα;
שלום לכולם, היום יום יפה מאוד לטיול ארוך ליד הים.
في الصباح الباكر خرجت السفينة من الميناء، وكان البحر هادئًا.
صبح زود کشتی از بندر بیرون رفت و می‌خواهم آن را ببینم.
सुबह होते ही किसान खेत की ओर चल पड़ा और पक्षी गाने लगे।
সকালে নদীর ঘাটে নৌকা ভিড়ল, মানুষ হাটে গেল।
காலையில் படகு கரையை அடைந்தது; மக்கள் சந்தைக்குச் சென்றனர்.
ఉదయం పడవ ఒడ్డుకు చేరింది, ప్రజలు సంతకు వెళ్లారు.
ตอนเช้าเรือมาถึงท่า ผู้คนไปตลาดกันตั้งแต่เช้ามืด
ຕອນເຊົ້າເຮືອມາຮອດທ່າ ແລະຜູ້ຄົນໄປຕະຫຼາດ
မနက်စောစော လှေဆိပ်ကမ်းကို ရောက်လာသည်။
დილით ნავი ნაპირს მოადგა და ხალხი ბაზარში წავიდა.
Առավոտյան նավակը հասավ ափ, և մարդիկ շուկա գնացին։
清晨，船靠了岸，人们去市场买菜；天气很好，风也不大。
清晨，船靠了岸，人們去市場買菜；學習漢語需要時間。
朝早く船が港に着いて、人々は市場へ出かけました。カタカナとひらがな、ｶﾅも。
아침 일찍 배가 항구에 닿고 사람들은 시장으로 갔습니다.
ጠዋት ጀልባው ወደብ ደረሰ፤ ሰዎች ወደ ገበያ ሄዱ።
ᠥᠪᠦᠷ ᠮᠣᠩᠭᠣᠯ ᠤᠨ ᠬᠠᠭᠤᠴᠢᠨ ᠦᠰᠦᠭ
Ω ≈ 3.14159 × 10⁻⁷ ± ½, x² + y² = z²; Ⅳ + ④ = Ⅷ; ∀ε>0 ∃δ>0.""".split("\n")
EMOJI = ["😀", "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽", "🇯🇵🇧🇷", "1️⃣", "❤️", "🧑🏿\u200d🚀", "☺", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "©️", "👨🏻\u200d🦰"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u2009",
          "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", "\x1c", "\x1f", "    ", "\n\n"]
QWEN2_ADDED = [("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True), ("<tool_call>", False),
               ("</tool_call>", False), ("<think>", False), ("</think>", False), ("<|mask|>", True)]
BROKEN = [b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe0\x80\x80",
          b"\xf8\x88\x80\x80\x80", b"\xc3", b"\xf0\x80\x80", b"\xe4\xbd"]
NFC = normalizers.NFC()
ASSIGNED = [chr(c) for c in range(1, 0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
ASSIGNED = [c for c in ASSIGNED if all(NFC.normalize_str(s) == unicodedata.normalize("NFC", s)
                                       for s in (c, f"a{c}\u0334", f"a\u0345{c}"))]
MARKS = [c for c in ASSIGNED if unicodedata.combining(c)]
DIGITS = [c for c in ASSIGNED if unicodedata.category(c)[0] == "N"]
DECOMPOSABLE = [c for c in ASSIGNED if unicodedata.normalize("NFD", c) != c]
LETTERS = [c for c in ASSIGNED if unicodedata.category(c)[0] == "L" and ord(c) < 0x3000]


def source_lines():
    """Lines of code of the standard library: one text in eight files."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    names = ["argparse", "ast", "bisect", "csv", "heapq", "json/decoder", "textwrap", "shlex"]
    return [line for n in names for line in (folder / f"{n}.py").read_text("utf-8").splitlines(keepends=True)]


def some(rng, pool, low, high):
    return "".join(rng.choice(pool) for _ in range(rng.randint(low, high)))


def one_text(rng, kind, lines):
    """One string of a kind, as bytes."""
    sentence = rng.choice(SENTENCES)
    if kind == "sentence":
        start = rng.randrange(len(sentence))
        return sentence[start:start + rng.randint(1, 60)].encode()
    if kind == "code":
        start = rng.randrange(len(lines))
        text = "".join(lines[start:start + rng.randint(1, 4)])
        return (text.replace("\n", "\r\n") if rng.random() < 0.2 else text).encode()
    if kind == "emoji":
        return "".join(rng.choice(EMOJI + ["a", " ", "!"]) for _ in range(rng.randint(1, 8))).encode()
    if kind == "decomposed":
        return unicodedata.normalize("NFD", sentence)[:rng.randint(1, 70)].encode()
    if kind == "marks":
        return "".join(rng.choice(rng.choice([MARKS, DECOMPOSABLE, "aeiou ", ["각", "ᄀ", "ᅡ", "ᆨ", "\u11a7"]]))
                       for _ in range(rng.randint(1, 14))).encode()
    if kind == "spaces":
        return "".join(rng.choice(rng.choice([SPACES, ["a", "!", "1", "é"]])) for _ in range(rng.randint(1, 14))).encode()
    if kind == "digits":
        return "".join(rng.choice(rng.choice([DIGITS, "0123456789", ".,- e+"])) for _ in range(rng.randint(1, 20))).encode()
    if kind == "contractions":
        tails = ["'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'LL", "'d", "’s", "'\u017f", "'x", "''s", " 's"]
        return "".join(some(rng, "abT it", 1, 4) + rng.choice(tails) for _ in range(rng.randint(1, 4))).encode()
    if kind == "broken":
        parts = [rng.choice([rng.choice(BROKEN), rng.randbytes(rng.randint(1, 5)), sentence[:4].encode(), b"x", b" "])
                 for _ in range(rng.randint(1, 8))]
        return b"".join(parts)
    if kind == "special":
        pool = [t for t, _ in QWEN2_ADDED] + ["<|im_", "<", "|>", "<think", " ", "\n", "user", "é", "e\u0301"]
        return "".join(rng.choice(pool) for _ in range(rng.randint(1, 8))).encode()
    if kind == "letters":
        return some(rng, LETTERS, 1, 12).encode()
    return some(rng, ASSIGNED, 1, 12).encode()


KINDS = ["sentence", "sentence", "code", "code", "emoji", "decomposed", "marks", "spaces", "digits", "contractions",
         "broken", "special", "letters", "any"]


def texts_of(rng, lines, count):
    texts = [b"", b" ", b"\n", b"Hello", b"\xef\xbb\xbfHello", "ab".encode() * 1500, b" " * 700, b"!" * 700, b"7" * 300,
             "é".encode() * 500, b"\n" * 300, ("\u0301\u0323" * 300).encode()]
    texts += [s.encode() for s in SENTENCES]
    while len(texts) < count:
        texts.append(one_text(rng, rng.choice(KINDS), lines))
    return texts


def write_golden(name, tokenizer, texts):
    with open(HERE / f"{name}.bin", "wb") as out:
        for text in texts:
            decoded = text.decode(errors="replace")
            for special in (True, False) if "<" in decoded or name == "added" else (True,):
                tokenizer.encode_special_tokens = not special
                ids = tokenizer.encode(decoded, add_special_tokens=False).ids
                out.write(struct.pack("<BI", special, len(text)) + text)
                out.write(struct.pack(f"<I{len(ids)}H", len(ids), *ids))


def save(name, tokenizer, edit=lambda parts: None):
    """Write NAME.json as edited, and return the tokenizer that reads it."""
    parts = json.loads(tokenizer.to_str())
    edit(parts)
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return Tokenizer.from_str(text)


def byte_level(model, split=None, normalizer=None):
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if split is not None:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


def train(tokenizer, texts, size):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[], show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def make_qwen2(rng, lines):
    tokenizer = train(byte_level(models.BPE(), QWEN2_SPLIT, normalizers.NFC()), lines + SENTENCES * 20, 3000)
    for content, special in QWEN2_ADDED:
        token = AddedToken(content, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    write_golden("qwen2", save("qwen2", tokenizer), texts_of(rng, lines, 5200))


def make_gpt2(rng, lines):
    def edit(parts):
        model = parts["model"]
        model["merges"] = [" ".join(m) for i, m in enumerate(model["merges"]) if i % 5 != 4]
        model["ignore_merges"] = True
    tokenizer = train(byte_level(models.BPE()), lines + SENTENCES, 700)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    write_golden("gpt2", save("gpt2", tokenizer, edit), texts_of(rng, lines, 1200))


def make_added(rng, lines):
    tokenizer = train(byte_level(models.BPE(), QWEN2_SPLIT, normalizers.NFC()), lines + SENTENCES, 400)
    tokenizer.add_tokens([AddedToken("abc", normalized=False), AddedToken("ab", normalized=False),
                          AddedToken("e\u0301!", normalized=True), AddedToken("é!!", normalized=True),
                          AddedToken("b cd", normalized=True), AddedToken("xyx", normalized=False)])
    tokenizer.add_special_tokens([AddedToken("<a>", special=True, normalized=False),
                                  AddedToken("<aab>", special=True, normalized=False),
                                  AddedToken("yx<", special=True, normalized=True)])
    pool = ["a", "b", "c", "<", ">", "d", " ", "é", "e\u0301", "!", "x", "y", "<a>", "<aab>", "abc", "xyx", "yx<", "b cd"]
    texts = [some(rng, pool, 1, 12).encode() for _ in range(1200)]
    write_golden("added", save("added", tokenizer), texts)


def make_ties(rng):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [w for n in range(2, 6) for w in ("".join(chr(97 + (i >> b & 1)) for b in range(n)) for i in range(2 ** n))]
    vocab = {token: i for i, token in enumerate(alphabet + words)}
    merges = [(w[:i], w[i:]) for w in words for i in range(1, len(w))]
    rng.shuffle(merges)
    tokenizer = byte_level(models.BPE(vocab=vocab, merges=merges), QWEN2_SPLIT, normalizers.NFC())
    texts = [some(rng, "ab", 1, 40).encode() for _ in range(2000)]
    write_golden("ties", save("ties", tokenizer), texts)


# Python keeps these two bytes back until a third comes, for the sake of errors="surrogatepass". The text is the same in
# the end, but slip_utf8_push() says at once what cannot change any more: no chunk ends here.
SURROGATE = re.compile(rb"\xed[\xa0-\xbf]\Z")


def make_stream(rng):
    with open(HERE / "stream.bin", "wb") as out:
        for _ in range(3000):
            text = b"".join(rng.choice([rng.choice(BROKEN), rng.randbytes(2), rng.choice(EMOJI).encode()[:rng.randint(1, 9)],
                                        rng.choice(SENTENCES)[:2].encode(), b"x"]) for _ in range(rng.randint(1, 5)))
            decoder, chunks = codecs.getincrementaldecoder("utf-8")("replace"), []
            text += b"x" if SURROGATE.search(text) else b""
            start = 0
            while start < len(text):
                end = start + rng.choice([1, 1, 2, 3, 7])
                end += bool(SURROGATE.search(text[:end]))
                chunks.append((text[start:end], decoder.decode(text[start:end]).encode()))
                start = end
            chunks.append((b"", decoder.decode(b"", True).encode()))
            out.write(struct.pack("<B", len(chunks)))
            for given, made in chunks:
                out.write(struct.pack("<B", len(given)) + given + struct.pack("<B", len(made)) + made)


def main():
    rng, lines = random.Random(20), source_lines()
    make_qwen2(rng, lines)
    make_gpt2(rng, lines)
    make_added(rng, lines)
    make_ties(rng)
    make_stream(rng)


if __name__ == "__main__":
    main()
