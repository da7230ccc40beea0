package confusable_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/idpsync/idpsync/worker/rules/confusable"
)

func TestNamesThatLookAlikeHaveOneSkeleton(t *testing.T) {
	for _, c := range []struct{ what, a, b string }{
		{"letter case", "PAYPAL", "paypal"},
		{"Cyrillic a", "pаypal", "paypal"},
		{"full width", "ｐａｙｐａｌ", "paypal"},
		{"full width capitals", "ＰＡＹＰＡＬ", "paypal"},
		{"mathematical letters, from the standard's introduction", "𝔭𝒶ỿ𝕡𝕒ℓ", "paypal"},
		{"a capital I after a small letter", "paypaI", "paypal"},
		{"a Ukrainian capital I after a small letter", "paypaІ", "paypal"},
		{"digit one", "paypa1", "paypal"},
		{"a vertical bar", "paypa|", "paypal"},
		{"digit zero", "r00t", "root"},
		{"digit zero and a capital O", "R0OT", "root"},
		{"r and n", "rnark", "mark"},
		{"all Cyrillic, from the standard: scope", "ѕсоре", "scope"},
		{"all Cyrillic capitals", "ТОМ", "Tom"},
		{"all Greek capitals", "ΤΟΜ", "tom"},
		{"Cherokee capitals", "ᏢᎪᎢ", "pat"},
		{"Cherokee in both cases", "ᎣᏍᏓ", "ꭳꮝꮣ"},
		{"a zero-width space", "pay\u200bpal", "paypal"},
		{"a soft hyphen", "pay\u00adpal", "paypal"},
		{"a combining grapheme joiner", "pay\u034fpal", "paypal"},
		{"a variation selector", "paypal\ufe0f", "paypal"},
		{"a Hangul filler", "pay\u3164pal", "paypal"},
		{"a tag character", "pay\U000e0061pal", "paypal"},
		{"composed and decomposed", "Ren\u00e9", "Rene\u0301"},
		{"a stroke drawn over the letter, from the standard: so̷s", "so\u0337s", "søs"},
		{"sharp s", "straße", "STRASSE"},
		{"hyphens", "anna‐maria", "anna-maria"},
		{"no-break space", "anna\u00a0maria", "anna maria"},
		{"curly apostrophe", "o’brien", "o'brien"},
		{"Persian digits that look like the Arabic ones", "۱۲۳", "١٢٣"},
		{"Han and a Kangxi radical", "⼭本", "山本"},
		{"Katakana ni and Han two", "ニ", "二"},
	} {
		if a, b := confusable.Skeleton(c.a), confusable.Skeleton(c.b); a != b {
			t.Errorf("%s: %q and %q look alike, but their skeletons are %q and %q", c.what, c.a, c.b, a, b)
		}
	}
}

func TestNamesThatDoNotLookAlikeKeepApart(t *testing.T) {
	for _, c := range []struct{ what, a, b string }{
		{"i and l", "neil", "nell"},
		{"a capital I among capitals", "NEIL", "Nell"},
		{"a capital I at the start", "Ian", "Lan"},
		{"e and é", "rene", "rené"},
		{"u and ü", "muller", "müller"},
		{"small Cyrillic letters", "том", "tom"},
		{"Vietnamese tones", "hoà", "hoá"},
		{"Arabic letters apart by dots", "بهار", "نهار"},
		{"Hebrew letters", "דנה", "רנה"},
		{"Katakana", "ハナ", "パナ"},
		{"two names", "anna", "hannah"},
	} {
		if s := confusable.Skeleton(c.a); s == confusable.Skeleton(c.b) {
			t.Errorf("%s: %q and %q do not look alike, but both have the skeleton %q", c.what, c.a, c.b, s)
		}
	}
}

func TestASCIIIsReadAsTheTablesReadIt(t *testing.T) {
	for c := range utf8.RuneSelf {
		for _, before := range []string{"", "a", "A", "1"} {
			s := before + string(rune(c))
			// The zero-width space is left out of the skeleton, and leads past the short cut for ASCII.
			if got, want := confusable.Skeleton(s), confusable.Skeleton(s+"\u200b"); got != want {
				t.Errorf("the skeleton of %q is %q, but the tables give %q", s, got, want)
			}
		}
	}
}

func TestSkeletonOfEachCharacterIsItsOwnSkeleton(t *testing.T) {
	for r := range rune(utf8.MaxRune + 1) {
		if once := confusable.Skeleton(string(r)); once != confusable.Skeleton(once) {
			t.Fatalf("the skeleton of %U is %q, whose skeleton is %q: want the same", r, once, confusable.Skeleton(once))
		}
	}
}

// honest are identifiers of people and addresses, each as one would write it.
var honest = []string{
	"", "mia+hr", "o'brien-d'arcy", "j.o'brien2", "Nguyễn Thị Ánh", "jürgen", "bücher", "straße", "Łukasz", "Çağrı", "Þórður", "Ştefan",
	"علی\u200cرضا محمدی", "\u061cمحمد", "محمد٢٠٢٤", "فاطمه ۱۲", "دانا كهن", "דנה כהן\u200f", "ג'ק", "משה־דוד",
	"Иван Иванов", "Ђорђе", "Ірина", "О'Коннор", "иван2", "Γιώργος Παπαδόπουλος", "Ա. Սարգսյան", "გიორგი",
	"王小明", "陳ㄇㄟˇ", "山田 太郎", "やまだ たろう", "ヤマダ・タロウ", "コーヒー", "山田ケン・Smith", "々木さん、", "田中さん2号", "김철수", "金철수", "김Smith",
	"ศรีสุดา", "ສຸດາ", "ශ්\u200dරීමා", "अनिता शर्मा", "अनिता।", "அனிதா", "আনিকা", "ਗੁਰਪ੍ਰੀਤ", "မောင်", "ቤተልሔም", "ᏣᎳᎩ",
	"Sam 👩\u200d👩\u200d👧\u200d👦", "O’Brien-D'Arcy, PhD & Co", "Jean\u00a0Luc", "Sukarno", "René", "Rene\u0301",
}

func TestHonestNamesAreHighlyRestrictive(t *testing.T) {
	for _, name := range honest {
		if mixes := confusable.Mixes(name); mixes != "" || !confusable.HighlyRestrictive(name) {
			t.Errorf("%q is said to mix %s: want it accepted", name, mixes)
		}
	}
}

func TestMixedScriptsAreNamed(t *testing.T) {
	for _, c := range []struct{ name, mixes string }{
		{"pаypal", "Cyrillic and Latin letters"},
		{"Сirсlе, from the standard", "Cyrillic and Latin letters"},
		{"αdmin", "Greek and Latin letters"},
		{"יוסי Levi", "Hebrew and Latin letters"},
		{"Αнна", "Cyrillic and Greek letters"},
		{"pаypal山", "Cyrillic and Latin letters"},
		{"山田дом", "Cyrillic and Han letters"},
		{"やまだ김", "Hangul and Hiragana letters"},
		{"ㄇㄟヤ", "Bopomofo and Katakana letters"},
		{"山ㄇ김", "Bopomofo and Hangul letters"},
		{"aコーд", "Cyrillic and Latin letters"},
		{"Ꭺdmin", "Cherokee and Latin letters"},
		{"aֿb", "Hebrew and Latin letters"}, // a combining mark of Hebrew's alone
		{"aー", ""},                          // the long vowel mark is of Japanese, which stands beside Latin
		{"дー", "Cyrillic and Hiragana letters"},
		{"अ।அ", "Devanagari and Tamil letters"},
		{"a\u0378", "Latin and Unknown letters"},
		{"1١", "digits of two number systems (1 and ١)"},
		{"١۱", "digits of two number systems (١ and ۱)"},
		{"محمد٢0", "digits of two number systems (٢ and 0)"},
	} {
		if got := confusable.Mixes(c.name); got != c.mixes || confusable.HighlyRestrictive(c.name) != (c.mixes == "") {
			t.Errorf("%q mixes %q: want %q", c.name, got, c.mixes)
		}
	}
}

func TestManyCombiningMarksDoNotConfuse(t *testing.T) {
	marks := strings.Repeat("\u0301\u0323\u1ab7", 400)
	for _, s := range []string{"a" + marks, marks, "a" + marks + "b" + marks} {
		once := confusable.Skeleton(s)
		if twice := confusable.Skeleton(once); twice != once {
			t.Errorf("the skeleton of %d combining marks is not its own skeleton", len(marks)/2)
		}
	}
}

func FuzzSkeleton(f *testing.F) {
	for _, name := range honest {
		f.Add(name)
	}
	for _, s := range []string{"PAYPAL", "pаypaІ", "%", "\xff", "ΟΣ\u0345", "ᏢᎪᎢ", "ﾞﾟ", "ŉ½"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := confusable.Skeleton(s)
		if twice := confusable.Skeleton(once); twice != once {
			t.Errorf("the skeleton of %q is %q, whose skeleton is %q: want the same", s, once, twice)
		}
		if !utf8.ValidString(once) && utf8.ValidString(s) {
			t.Errorf("the skeleton of %q is no UTF-8: %q", s, once)
		}
		if mixes := confusable.Mixes(s); confusable.HighlyRestrictive(s) != (mixes == "") {
			t.Errorf("%q is highly restrictive: %t, but mixes %q", s, mixes != "", mixes)
		}
	})
}

func BenchmarkSkeleton(b *testing.B) {
	for _, c := range []struct{ name, s string }{{"ascii", "jane.doe-42"}, {"ascii-changed", "Mike.Doe@acme.example"}, {"cyrillic", "Иван Иванов"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				confusable.Skeleton(c.s)
			}
		})
	}
}

func BenchmarkHighlyRestrictive(b *testing.B) {
	for _, c := range []struct{ name, s string }{{"ascii", "Mike.Doe@acme.example"}, {"cyrillic", "Иван Иванов"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				confusable.HighlyRestrictive(c.s)
			}
		})
	}
}
