package rules

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"

	"golang.org/x/image/webp"
)

// maxAvatar bounds the base64 part of an avatar, in characters (about 192 KB of image).
const maxAvatar = 262_144

// maxAvatarSide bounds width and height: a small file can announce an image that no viewer survives.
const maxAvatarSide = 8192

// checkAvatar checks a data URI (RFC 2397) of a PNG, JPEG, GIF or WebP image whose bytes are what it says.
func checkAvatar(uri string) error {
	rest, ok := strings.CutPrefix(uri, "data:")
	if !ok {
		return errors.New("is not a data URI")
	}
	mediaType, encoded, ok := strings.Cut(rest, ";base64,")
	if !ok {
		return errors.New("is not a base64 data URI of the form data:image/png;base64,…")
	}
	if len(encoded) > maxAvatar {
		return errors.New("is longer than 262144 base64 characters")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errors.New("is not valid base64")
	}
	var width, height int
	switch strings.ToLower(mediaType) {
	case "image/png":
		c, e := png.DecodeConfig(bytes.NewReader(data))
		width, height, err = c.Width, c.Height, e
	case "image/jpeg":
		c, e := jpeg.DecodeConfig(bytes.NewReader(data))
		width, height, err = c.Width, c.Height, e
	case "image/gif":
		c, e := gif.DecodeConfig(bytes.NewReader(data))
		width, height, err = c.Width, c.Height, e
	case "image/webp":
		c, e := webp.DecodeConfig(bytes.NewReader(data))
		width, height, err = c.Width, c.Height, e
	default:
		return errors.New("is not a PNG, JPEG, GIF or WebP image")
	}
	if err != nil {
		return errors.New("does not hold an image of the media type that it names")
	}
	if width < 1 || height < 1 || width > maxAvatarSide || height > maxAvatarSide {
		return errors.New("has a width or height that is not between 1 and 8192 pixels")
	}
	return nil
}
