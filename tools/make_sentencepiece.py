#!/usr/bin/env python3
"""Reference values for model/tokenizer/sentencepiece: small vocabularies and what the reference makes of texts.

    python3 -m venv VENV && VENV/bin/pip install sentencepiece==0.2.3 tokenizers==0.21.4 transformers==4.54.1 protobuf
    VENV/bin/python tools/make_sentencepiece.py model/tokenizer/sentencepiece/testdata

Three vocabularies, trained on the text that this file makes up:

  siglip   unigram, NFKC table, the ids of SigLIP's own (pad 0, </s> 1, <unk> 2), as spiece.model and tokenizer.json
  bytes    unigram, byte fallback, symbols of its own, no table, runs of spaces kept
  gemma    BPE, byte fallback, no table, no space in front, symbols of its own, as tokenizer.model and tokenizer.json

cases.json: "text" (or "repeat" [unit, count]), SentencePiece's ids of each vocabulary, long ones run-length coded.
"siglip_64" and "siglip_16" are transformers' SiglipTokenizer with its padding and truncation, "siglip2_64" is lower
case, Gemma's ids, 1, zeros; padding at their ends is left out, and siglip_16 where nothing was cut off. "siglip_json" is
the tokenizers library's result, "gemma_json" too, where it differs from SentencePiece's.
"""
import io, itertools, json, os, random, re, string, sys

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import SiglipTokenizer

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
random.seed(7)

THINGS = """cat dog frog bird horse house boat train bridge mountain river forest street window table chair lamp bottle
cup plate apple orange banana bread cheese coffee painting poster clock camera phone keyboard bicycle car bus truck
airplane beach island cloud storm sunset night snow rain garden flower tree leaf stone castle tower church market child
woman man people crowd dancer singer teacher doctor farmer sailor photograph drawing sketch portrait landscape""".split()
LOOKS = """red green blue yellow black white small large old new wooden broken empty bright dark quiet busy round
striped sleeping running standing smiling blurry colourful ancient modern""".split()
PLACES = """on the left|on the right|in front of a wall|under the table|near the water|behind the house|at night|
in the rain|in the middle of the street|from above|with a hat|next to a window|without shadows""".replace("\n", "").split("|")
FRAMES = ["a photo of a {a} {b}.", "this is a picture of two {b}s {p}.", "A {a} {b} and a {c} {d} {p}", "an image that shows the {b} {p}, the {d} is {a}",
          "there are {n} {b}s here", "is it a {b}? No, it is a {d}!", "the {b} does not look {a} to me", "close-up of the {a} {b} {p}", "{n} x {m} pixels"]
OTHER = ["ein Foto von einer Katze und einem Hund auf der Straße", "une photo d'un château près de la rivière", "una foto de un niño en el jardín",
         "фотография кошки на окне", "一张猫的照片", "犬が走っている写真", "고양이 사진", "صورة قطة", "रंगीन चित्र", "φωτογραφία μιας γάτας", "ảnh chụp một con mèo"]

def corpus():
    for _ in range(6000):
        yield random.choice(FRAMES).format(a=random.choice(LOOKS), b=random.choice(THINGS), c=random.choice(LOOKS), d=random.choice(THINGS),
                                           p=random.choice(PLACES), n=random.randint(2, 2000), m=random.randint(1, 999))
    for line in OTHER:
        yield from [line] * 20

def train(**options):
    data = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=corpus(), model_writer=data, num_threads=1, minloglevel=2, max_sentencepiece_length=16, hard_vocab_limit=False, **options)
    proto = pb.ModelProto.FromString(data.getvalue())
    proto.trainer_spec.ClearField("input"); proto.trainer_spec.model_prefix = ""
    return proto.SerializeToString()

ids = dict(pad_id=0, eos_id=1, pad_piece="<pad>")
symbols = ["<sep>", "\t", "  ", "www.", "é"]
files = {
    "siglip": train(vocab_size=900, model_type="unigram", normalization_rule_name="nmt_nfkc", bos_id=-1, unk_id=2, character_coverage=0.9995, **ids),
    "bytes": train(vocab_size=900, model_type="unigram", normalization_rule_name="identity", bos_id=-1, unk_id=2, byte_fallback=True,
                   character_coverage=0.995, user_defined_symbols=symbols, remove_extra_whitespaces=False, **ids),
    "gemma": train(vocab_size=900, model_type="bpe", normalization_rule_name="identity", bos_id=2, unk_id=3, eos_piece="<eos>", bos_piece="<bos>", byte_fallback=True, split_digits=True,
                   character_coverage=0.995, user_defined_symbols=["\n", "\n\n", "\t", "▁▁", "▁▁▁", "<h1>", "</h1>"], add_dummy_prefix=False,
                   remove_extra_whitespaces=False, **ids),
}
names = {"siglip": "spiece.model", "bytes": "spiece.model", "gemma": "tokenizer.model"}
sp = {}
for name, data in files.items():
    os.makedirs(f"{out}/{name}", exist_ok=True)
    open(f"{out}/{name}/{names[name]}", "wb").write(data)
    sp[name] = spm.SentencePieceProcessor(model_proto=data)

# The same vocabularies as tokenizer.json.
def special(p):
    return [AddedToken(x.piece, special=True, normalized=False) for x in p.pieces if x.type in (2, 3)]

p = pb.ModelProto.FromString(files["siglip"])
siglip_json = Tokenizer(models.Unigram([(x.piece, x.score) for x in p.pieces], 2, False))
siglip_json.normalizer = normalizers.Sequence([
    normalizers.Lowercase(), normalizers.Replace(Regex("[" + re.escape(string.punctuation) + "]"), ""), normalizers.Replace(Regex(r"\s+"), " "),
    normalizers.Strip(), normalizers.Precompiled(p.normalizer_spec.precompiled_charsmap), normalizers.Strip(left=False, right=True),
    normalizers.Replace(Regex(" {2,}"), "▁")])
siglip_json.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
p = pb.ModelProto.FromString(files["gemma"])
vocab = {x.piece: i for i, x in enumerate(p.pieces)}
merges = []
for x in p.pieces:
    if x.type in (1, 4):
        local = [(x.piece[:i], x.piece[i:]) for i in range(1, len(x.piece)) if x.piece[:i] in vocab and x.piece[i:] in vocab]
        local.sort(key=lambda m: (vocab[m[0]], vocab[m[1]]))
        merges += [(m, x.score) for m in local]
merges = [m for m, _ in sorted(merges, key=lambda m: -m[1])]
gemma_json = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
gemma_json.normalizer = normalizers.Replace(" ", "▁")
gemma_json.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
gemma_json.add_tokens([AddedToken(x.piece, special=False, normalized=False) for x in p.pieces if x.type == 4])

TEXTS = """a photo of a cat|A photo of a CAT.|this is a photo of 2 cats|hello, world!|It's a dog, isn't it?|!!!|"quoted" (and) [bracketed] {braced}|
a_b_c|e-mail@example.com|www.example.com/path?q=1&r=2|100%|$5.00|C++ and C#|~tilde~ `tick` ^hat^|don't|semi;colon:colon|<b>bold</b>|</s>|<unk>|<pad>|
<sep>|a<sep>b|a </s> b|<0x41>|<0x0A>|<h1>title</h1>|▁|▁▁a|a▁b| ▁ a|naïve café|Straße|STRASSE|ΣΊΣΥΦΟΣ ΟΔΟΣ|İstanbul|ıI|ǅungla|ﬁne ﬂow|ＦＵＬＬ ｗｉｄｔｈ|
①②③ ⅷ ½|㍿ ㌔ ㎏|ﷺ|e\u0301 vs é|o\u0302\u0323 vs ộ|q\u0307\u0323|각|\u1112\u1161\u11ab|ｶﾞ ﾊﾟ|カ\u3099|한국어 고양이 사진|一张猫的照片|犬が走っている写真|
фотография КОШКИ|صورة قطة|لا إله|रंगीन चित्र|ภาพถ่ายแมว|ảnh chụp một con mèo|γάτας|😀|👨‍👩‍👧‍👦 family|🇩🇪 flag|🏳️‍🌈|cat😀dog|☃☃☃|☃ ☃|x\u200dy|x\u200by|x\ufeffy|x\u00ady|
\ufe0f|\u2028line|a\u00a0b|a\u2003b|a\u3000b|a\u1680b|tab\there|new\nline|cr\r\nlf|a\n\nb|\v\f|a\x1cb|a\x85b|a\x00b|\x00|\x01\x02|a\x07b|a\x7fb|\ufffd|a\ufffdb|
\U0010ffff|\ue000|\u0378|\ufdd0|  leading|trailing  |  both  |a  b   c    d|a ! b|! a|a !|.a.|...|   |\t\n|a|ab|abc|Z|é|éé|1|12|1234567890|3.14159|1,000,000|2026-11-25|a1b2c3|
catdog|catcatcat|photophoto|unbelievablesupercalifragilistic|qqqqqq|zxzxzxzx|aphotoofacat|a photo ofa cat|THE QUICK BROWN FOX|mIxEd CaSe|
a photo of a small red wooden boat near the water at night in the rain|mountain mountains mountaineer|river's|the the the|an image that shows the horse|
blurry close-up|close - up|ein Foto von einer Katze|une photo d'un château|una foto de un niño|colour color colourful|no. 5|#1|a/b\\c|key=value|[0, 1]|a|b|A.B.C.|
é\u0301|\u0301|\u0301a|a\u0301\u0302\u0303|Å Å|Ω Ω|K K|ſ|ŉ|ǰ|ẞ|ﬀ ﬃ|ʼn|…|‥|—|–|‘x’ “y”|«z»|„q“|¡hola! ¿qué?|5′ 6″|™ © ®|x² y³|H₂O|10⁻³|a⁄b|∑∏∫|ⅨⅩ|㊗㊙|🄰🅱|𝒜𝓑|𝟙𝟚|ＡＢＣ．|·|、。|！？|
\u202eabc|\u2066x\u2069|ab\u0300c|\u1100\u1100|\uac00\u11a8|שָׁלוֹם|ﬡ|ﭏ|मनीष|ক্ষ|தமிழ்|မြန်မာ|ខ្មែរ|ᠮᠣᠩᠭᠣᠯ|ཀྵ|꧋|𐍈𐍉|𠀀𪛖|🜁|\u200e|\u2060word|a\u034fb|<sep><sep>|  <sep>  |www.www.|\t\t|a\tb  c|é  é"""
texts = [t.encode("utf-16", "surrogatepass").decode("utf-16") for t in re.sub(r"\|\n", "|", TEXTS).split("|")]
texts += [f.format(a="red", b="frog", c="old", d="lamp", p="at night", n=7, m=31) for f in FRAMES] + OTHER + [""]
texts += [" ".join(random.choices(THINGS + LOOKS, k=k)) for k in (14, 15, 16, 17, 30, 61, 62, 63, 64, 65, 70, 100)]
texts += ["".join(chr(random.choice([random.randint(32, 126), random.randint(0xA0, 0x24F), random.randint(0x300, 0x36F), random.randint(0x1E00, 0x33FF)]))
                  for _ in range(40)) for _ in range(20)]
texts = list(dict.fromkeys(texts))
REPEATS = [["a", 3000], [" ", 2000], ["cat ", 1500], ["☃", 1000], ["éa ", 700], ["photo", 900], ["!", 500]]

siglip = SiglipTokenizer(f"{out}/siglip/spiece.model")

def rle(list_):
    return [[k, len(list(g))] for k, g in itertools.groupby(list_)] if len(list_) > 100 else list_

def bare(ids, pad):
    """ids without the padding at the end; SigLIP's is its end token, of which one stays."""
    while ids and ids[-1] == pad and (pad == 0 or ids[-2:] == [pad, pad]):
        ids = ids[:-1]
    return ids

cases, differ = [], {"siglip": [], "gemma": []}
for entry in texts + REPEATS:
    text = entry if isinstance(entry, str) else entry[0] * entry[1]
    case = {"text": entry} if isinstance(entry, str) else {"repeat": entry}
    for name in sp:
        case[name] = sp[name].encode(text)
    lengths = {}
    for length in (16, 64):
        lengths[length] = siglip(text, padding="max_length", max_length=length, truncation=True, split_special_tokens=True)["input_ids"]
        assert len(lengths[length]) == length
    case["siglip_64"] = bare(lengths[64], 1)
    if lengths[16] != lengths[64][:16]:
        case["siglip_16"] = lengths[16]
    lower = "".join(c.lower() for c in text)
    case["siglip2_64"] = gemma_json.encode(lower).ids[:63] + [1]
    canonical = re.sub(r"\s+", " ", lower.translate(str.maketrans("", "", string.punctuation))).strip()
    case["siglip_json"] = siglip_json.encode(text).ids
    if case["siglip_json"] != sp["siglip"].encode(canonical):
        differ["siglip"].append(text)
    if gemma_json.encode(text).ids != case["gemma"]:
        case["gemma_json"] = gemma_json.encode(text).ids
        differ["gemma"].append(text[:20])
    cases.append({k: rle(v) if isinstance(v, list) and k != "repeat" else v for k, v in case.items()})
with open(f"{out}/cases.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
# Only the files know the special tokens: with them the library would parse "</s>" in a text.
for name, tok in ("siglip", siglip_json), ("gemma", gemma_json):
    tok.add_tokens(special(pb.ModelProto.FromString(files[name])))
    tok.save(f"{out}/{name}/tokenizer.json", pretty=False)
print(len(cases), "cases; where the tokenizers library differs from SentencePiece:", differ)
